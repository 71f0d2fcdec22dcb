"""`python setting_up.py FOLDER`: begins the environment of `make bench-gpu`, beside the packages of a machine.

Run as a file by the machine's own Python, which has PyTorch, transformers and PEFT but not what this program needs: so
it takes the standard library alone, and packaging, which transformers needs itself. The packages of the machine are
seen in the new environment and never replaced, also where that Python is one of a virtual environment itself. What is
left in FOLDER, for pip and for compiling: `needs.txt`, `constraints.txt`, `isolation.txt` and `cuda`, where cuBLAS lies
as a CUDA toolkit would have it.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

_PRESENT = ("pip", "torch", "transformers", "peft")
_OTHERWISE = "make PYTHON=… bench-gpu; or set up without it: make setup CUDA=1, then make bench-gpu"
_COMPILED = "llama-cpp-python"
_CUBLAS = re.compile(r"nvidia-cublas(-cu\d+)?")
_LIBRARY = re.compile(r"(libcublas(?:Lt)?\.so)\.\d+")


def main(project: Path, folder: Path) -> None:
    present = present_packages()
    versions = {name: one.version for name, one in present.items()}
    requirements = needs((project / "pyproject.toml").read_text(encoding="utf-8"))
    lacking = [name for name in _PRESENT if find_spec(name) is None or name not in present]
    if lacking:
        raise SystemExit(f"{sys.executable}: {', '.join(lacking)} not there. Give a Python that has them: {_OTHERWISE}")
    if wrong := unfit(requirements, versions):
        raise SystemExit(
            f"{sys.executable}: {'; '.join(wrong)}. Install what is needed there, or give a Python that has it: "
            f"{_OTHERWISE}"
        )
    venv.create(folder, clear=True, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    folders = [one for one in sys.path if one.endswith("-packages")]
    seen = "; ".join(f"site.addsitedir({one!r})" for one in folders)
    packages.joinpath("machine.pth").write_text(f"import site; {seen}\n{project}\n", encoding="utf-8")
    pinned = (project / ".constraints.txt").read_text(encoding="utf-8")
    _write(folder / "constraints.txt", constraints(pinned, versions))
    _write(folder / "needs.txt", requirements)
    _write(folder / "isolation.txt", isolation())
    for name, one in present.items():
        if _CUBLAS.fullmatch(name):
            link_cublas(one, folder / "cuda")


def present_packages() -> dict[str, Distribution]:
    """By name. Where there are several of a name, the first on the path, which is what Python imports; what an
    interrupted pip has left, which has no name, is none.
    """
    found: dict[str, Distribution] = {}
    for one in distributions():
        if one.metadata and "Name" in one.metadata:
            found.setdefault(_plain(one.metadata["Name"]), one)
    return found


def unfit(requirements: Iterable[str], present: Mapping[str, str]) -> list[str]:
    """Of the packages that must not be replaced: those whose version this program can't use, and what it needs."""
    from packaging.requirements import Requirement  # not where a Python without transformers is refused

    found = []
    for need in map(Requirement, requirements):
        version = present.get(_plain(need.name), "")
        if _plain(need.name) in _PRESENT and not need.specifier.contains(version, prereleases=True):
            found.append(f"{need.name} {version} is there, needed is {need.specifier}")
    return found


def constraints(pinned: str, present: dict[str, str]) -> Iterator[str]:
    """The pinned versions of what isn't present, and those present of what must not be replaced."""
    for line in pinned.splitlines():
        if not line.startswith("#") and _plain(line.partition("==")[0]) not in present:
            yield line
    for name in _PRESENT:
        yield f"{name}=={present[name]}"


def needs(pyproject: str) -> list[str]:
    """All requirements but what is compiled here."""
    requirements: list[str] = tomllib.loads(pyproject)["project"]["dependencies"]
    return [one for one in requirements if not one.startswith(_COMPILED)]


def isolation() -> list[str]:
    """pip's option where all that llama.cpp is compiled with is there; else pip installs it for the compiling alone."""
    tools = all(shutil.which(one) or find_spec(one) for one in ("cmake", "ninja"))
    return ["--no-build-isolation"] if tools and find_spec("scikit_build_core") else []


def link_cublas(package: Distribution, folder: Path) -> None:
    """Libraries under the names without a version in `folder`/lib, headers in `folder`/include."""
    for file in package.files or ():
        library = _LIBRARY.fullmatch(file.name)
        if library is None and not re.fullmatch(r"cublas\w*\.h", file.name):
            continue
        link = folder / "include" / file.name if library is None else folder / "lib" / library[1]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(str(package.locate_file(file))).resolve())
        if library is not None:
            (link.parent / file.name).symlink_to(link.resolve())


def _plain(name: str) -> str:
    """As packages are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _write(file: Path, lines: Iterator[str] | list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[3], Path(sys.argv[1]).absolute())
