"""What `make bench-gpu` prepares on a machine with a GPU, and what it says where something is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution
from importlib.metadata import version as version_of
from pathlib import Path

import pytest
from gpu_documents import document_of

from llm2llm_local.bench.gpu.carried import requirement_lines
from llm2llm_local.bench.gpu.setting_up import constraints, isolation, link_cublas, needs, present_packages, unfit

ROOT = Path(__file__).parents[1]
SETTING_UP = ROOT / "llm2llm_local" / "bench" / "gpu" / "setting_up.py"


def test_what_is_carried_is_all_but_what_is_there_and_what_is_compiled_there() -> None:
    names = {line.split("==")[0] for line in requirement_lines("3.11")}
    assert {"bitsandbytes", "pydantic-core", "rapidfuzz", "textual", "linkify-it-py", "gguf"} <= names
    assert not {"torch", "numpy", "transformers", "peft", "pip", "llama-cpp-python", "llm2llm-local"} & names
    assert not {"mypy", "ruff", "pytest", "scipy"} & names


def test_what_is_carried_is_what_the_other_machines_python_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 'click; python_version >= "3.12"', 'nowhere-here; python_version >= "3.13"', 'rich; extra == "more"'
    lines = "".join(f"Requires-Dist: {one}\n" for one in needed)
    distribution(tmp_path, "needing-1.0", f"Name: needing\nVersion: 1.0\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("llm2llm_local.bench.gpu.carried._PROGRAM", "needing")
    click = f"click=={version_of('click')}"
    assert [requirement_lines(one) for one in ("3.11", "3.12", "3.13")] == [[], [click], [click, "nowhere-here"]]


def test_what_is_there_is_kept_and_what_is_not_is_pinned() -> None:
    pinned = "# Exact versions\nclick==8.5.1\nrapidfuzz==3.14.6\nRuamel_YAML==1.0\ntorch==2.13.0\n"
    present = {"pip": "24.0", "torch": "2.11.0+cu130", "transformers": "5.17.0", "peft": "0.19", "ruamel-yaml": "0.9"}
    assert list(constraints(pinned, present)) == [
        "click==8.5.1",
        "rapidfuzz==3.14.6",
        "pip==24.0",
        "torch==2.11.0+cu130",
        "transformers==5.17.0",
        "peft==0.19",
    ]


def distribution(folder: Path, name: str, metadata: str) -> None:
    """A package that is installed in the folder."""
    information = folder / f"{name}.dist-info"
    information.mkdir(parents=True)
    if metadata:
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\n{metadata}")


def test_of_two_versions_that_which_python_imports_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "2.0"):
        distribution(tmp_path / version, f"Twice_there-{version}", f"Name: Twice_there\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path / version)
    assert version_of("Twice_there") == "2.0"
    assert present_packages()["twice-there"].version == "2.0"


def test_what_an_interrupted_pip_has_left_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "~orch-2.11.0", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert "torch" in present_packages()


def test_a_version_that_cant_be_used_is_named_with_what_is_needed() -> None:
    required = needs((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fitting = {"pip": "24.0", "torch": "2.11.0+cu130", "transformers": "5.17.0", "peft": "0.19.1", "click": "1.0"}
    assert unfit(required, fitting) == []
    assert unfit(required, {**fitting, "torch": "2.10.1+cu128", "transformers": "4.57.1"}) == [
        "torch 2.10.1+cu128 is there, needed is >=2.11",
        "transformers 4.57.1 is there, needed is <6,>=5.17",
    ]


@pytest.mark.model
def test_too_old_packages_of_the_machine_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    distribution(tmp_path / "old", "transformers-4.57.1", "Name: transformers\nVersion: 4.57.1\n")
    done = subprocess.run(
        [sys.executable, SETTING_UP, tmp_path / "gpu"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "old")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "transformers 4.57.1 is there, needed is <6,>=5.17" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / "gpu").exists()


def test_all_but_what_is_compiled_is_installed_as_it_is() -> None:
    found = needs((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[<>=]", one)[0] for one in found}
    assert {"torch", "textual", "click", "rapidfuzz"} <= names
    assert "llama-cpp-python" not in names


@pytest.mark.model
def test_the_environment_sees_the_packages_of_the_machine(tmp_path: Path) -> None:
    """Which may be a virtual environment itself, as the one of these tests is."""
    subprocess.run([sys.executable, SETTING_UP, tmp_path / "gpu"], cwd=tmp_path, check=True)
    asked = (
        "import click, llm2llm_local, peft, pip, sys, torch, transformers;"
        "print(sys.prefix, torch.__file__, llm2llm_local.__file__, sep='\\n')"
    )
    python = tmp_path / "gpu" / "bin" / "python"
    done = subprocess.run([python, "-P", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    prefix, torch, package = done.stdout.splitlines()
    assert Path(prefix) == tmp_path / "gpu"
    assert Path(torch).is_relative_to(sys.prefix)
    assert Path(package).is_relative_to(ROOT)
    assert "torch==" in (tmp_path / "gpu" / "constraints.txt").read_text()
    assert "bitsandbytes" in (tmp_path / "gpu" / "needs.txt").read_text()


def test_a_python_without_the_packages_is_refused(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    done = subprocess.run([python, SETTING_UP, tmp_path / "gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "torch, transformers, peft not there" in done.stderr
    assert not (tmp_path / "gpu").exists()


@pytest.mark.parametrize("lacking", ["", "scikit_build_core", "cmake", "ninja"])
def test_llama_is_compiled_with_what_is_there_only_when_all_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """CMake as a program, the others as Python's packages."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in {"scikit_build_core", "ninja"} - {lacking}:
        (tmp_path / f"{name}.py").touch()
    if lacking != "cmake":
        (tmp_path / "cmake").touch(mode=0o755)
    assert isolation() == ([] if lacking else ["--no-build-isolation"])


def test_cublas_lies_as_a_toolkit_has_it(tmp_path: Path) -> None:
    package = tmp_path / "packages"
    for name in ("lib/libcublas.so.13", "lib/libcublasLt.so.13", "lib/libnvblas.so.13", "include/cublas_v2.h"):
        file = package / "nvidia" / "cu13" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    information = package / "nvidia_cublas-13.1.dist-info"
    information.mkdir()
    files = [str(one.relative_to(package)) for one in package.rglob("*") if one.is_file()]
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cublas\nVersion: 13.1\n")
    (information / "RECORD").write_text("".join(f"{one},,\n" for one in files))
    link_cublas(Distribution.at(information), tmp_path / "cuda")
    found = {str(one.relative_to(tmp_path / "cuda")) for one in (tmp_path / "cuda").rglob("*") if one.is_file()}
    libraries = {"lib/libcublas.so", "lib/libcublas.so.13", "lib/libcublasLt.so", "lib/libcublasLt.so.13"}
    assert found == {*libraries, "include/cublas_v2.h"}
    assert (tmp_path / "cuda" / "lib" / "libcublas.so").read_text() == "lib/libcublas.so.13"


def test_make_compiles_nothing_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = bench_gpu(tmp_path, f"BENCH_JSON={tmp_path}/found.json")
    assert done.returncode != 0
    assert done.stdout.startswith("Needs an NVIDIA GPU")
    assert not (tmp_path / "found.json").exists()


GPU_BIN_PYTHON = """#!/bin/sh
case "$*" in
    *default_model*) ;;
    *"llm2llm_local bench gpu"*) cp {measured} "$LLM2LLM_BENCH_JSON"; exit 1 ;;
    *) exec {python} "$@" ;;
esac
"""


def test_make_tells_what_was_measured_when_the_measuring_fails(tmp_path: Path) -> None:
    """With programs instead of the GPU's: what `bench gpu` leaves when it ends with an error."""
    measured, found = tmp_path / "measured.json", tmp_path / "new" / "found.json"
    measured.write_text(json.dumps(document_of()))
    python = GPU_BIN_PYTHON.format(measured=measured, python=sys.executable)
    for name, script in (("nvidia-smi", "#!/bin/sh\necho GPU 0\n"), ("python", python)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    done = bench_gpu(tmp_path, "GPU_READY=Makefile", f"GPU_BIN={tmp_path}", f"BENCH_JSON={found}")
    assert done.returncode != 0
    assert "GPU check" in done.stdout and "not run: there was no time left" in done.stdout, done.stderr
    assert found.read_text() == measured.read_text()


def bench_gpu(programs: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """`make bench-gpu` where these programs are found first."""
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop("MAKEFLAGS", None)
    return subprocess.run(
        ["make", "--no-print-directory", "bench-gpu", *given],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
