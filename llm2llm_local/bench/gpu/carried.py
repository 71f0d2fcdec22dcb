"""`python -m llm2llm_local.bench.gpu.carried 3.12`: what a machine for `make bench-gpu` lacks, a requirement a line.

That machine has CUDA, pip, PyTorch with its needs, NumPy, transformers and PEFT. All else is carried there as wheels,
in the versions that are installed here. What transformers needs is among them, since it isn't the same for all its
versions; nothing that is there and will do is replaced. llama-cpp-python isn't: its source is carried, and compiled.
"""

from __future__ import annotations

import sys
from importlib import metadata

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PROGRAM = "llm2llm-local"
_PRESENT = frozenset({"pip", "numpy", "transformers", "peft"})
_COMPILED_THERE = "llama-cpp-python"


def requirement_lines(python: str) -> list[str]:
    """`name==version`, sorted by name; what that machine's Python, "3.12" say, needs and this one's doesn't is without
    a version.
    """
    carried = _with_needs(_PROGRAM, python) - _with_needs("torch", python) - _PRESENT - {_PROGRAM, _COMPILED_THERE}
    return [_pinned(name) for name in sorted(carried)]


def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def _with_needs(package: str, python: str) -> set[str]:
    """The package and all that it needs, by their canonical names; with the extras that are asked for, and no other.

    What a package needs that isn't installed here can't be known.
    """
    there = {"python_version": python, "python_full_version": f"{python}.0"}
    found: set[str] = set()
    seen: set[Requirement] = set()
    waiting = [Requirement(package)]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        found.add(canonicalize_name(one.name))
        for need in map(Requirement, _requirements(one.name)):
            extras = ("", *one.extras)
            if need.marker is None or any(need.marker.evaluate({**there, "extra": extra}) for extra in extras):
                waiting.append(need)
    return found


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


if __name__ == "__main__":
    click.echo("\n".join(requirement_lines(sys.argv[1])))
