"""`python -m llm2llm_local.bench.gpu.carried`: what a machine for `make bench-gpu` lacks, a requirement a line.

That machine has CUDA, pip, PyTorch with its needs, NumPy, transformers and PEFT. All else is carried there as wheels,
in the versions that are installed here. What transformers needs is among them, since it isn't the same for all its
versions; nothing that is there and will do is replaced. llama-cpp-python isn't: its source is carried, and compiled.
"""

from __future__ import annotations

from importlib import metadata

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PROGRAM = "llm2llm-local"
_PRESENT = frozenset({"pip", "numpy", "transformers", "peft"})
_COMPILED_THERE = "llama-cpp-python"


def requirement_lines() -> list[str]:
    """`name==version`, sorted by name."""
    carried = _with_needs(_PROGRAM) - _with_needs("torch") - _PRESENT - {_PROGRAM, _COMPILED_THERE}
    return [f"{name}=={metadata.version(name)}" for name in sorted(carried)]


def _with_needs(package: str) -> set[str]:
    """The package and all that it needs, by their canonical names; with the extras that are asked for, and no other."""
    found: set[str] = set()
    seen: set[Requirement] = set()
    waiting = [Requirement(package)]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        found.add(canonicalize_name(one.name))
        for need in map(Requirement, metadata.requires(one.name) or ()):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                waiting.append(need)
    return found


if __name__ == "__main__":
    click.echo("\n".join(requirement_lines()))
