"""What a program imports, told by an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "llama_cpp",
    "textual",
    "sqlite_utils",
    "pydantic",
    "numpy",
    "pandas",
    "scipy",
    "rich",
    "gguf",
}


def imported_by(program: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after `program`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, contextlib, io\n{program}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
