"""Contenders that need no model, for tests of the benchmarks' frame: each does what its name says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm2llm_local.errors import ModelError

Repeat = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class FakeCase:
    """`journal` is a file to which contenders write a line about each thing that they do."""

    journal: Path
    rows: int = 10
    seconds: float = 0.001


def _journal(case: FakeCase, line: str) -> None:
    with case.journal.open("a") as journal:
        journal.write(f"{line}\n")


def _working(case: FakeCase, name: str) -> Repeat:
    _journal(case, f"{name} prepares in {os.getpid()}")

    def repeat() -> Mapping[str, float]:
        _journal(case, f"{name} works in {os.getpid()}")
        time.sleep(case.seconds)
        return {"rows": case.rows, "tokens": 3 * case.rows}

    return repeat


def first(case: FakeCase) -> Repeat:
    return _working(case, "first")


def second(case: FakeCase) -> Repeat:
    return _working(case, "second")


def slow_at_first(case: FakeCase) -> Repeat:
    """Its first repeat takes half a second, those after it none."""
    has_begun = False

    def repeat() -> Mapping[str, float]:
        nonlocal has_begun
        if not has_begun:
            time.sleep(0.5)
        has_begun = True
        return {"rows": case.rows}

    return repeat


def holds_200_mb(case: FakeCase) -> Repeat:
    """At work."""

    def repeat() -> Mapping[str, float]:
        block = b"x" * 200_000_000
        return {"rows": len(block) / 200_000_000}

    return repeat


def held_200_mb(case: FakeCase) -> Repeat:
    """While it was being prepared, and no more when it works."""
    block = b"x" * 200_000_000
    del block
    return lambda: {"rows": 1}


def lacks_a_package(case: FakeCase) -> Repeat:
    import no_such_package_anywhere  # type: ignore[import-not-found]

    return no_such_package_anywhere.repeat  # type: ignore[no-any-return]


def refuses(case: FakeCase) -> Repeat:
    raise ModelError(f"{case.journal}: the model doesn't fit", "Take a smaller one.")


def refuses_later(case: FakeCase) -> Repeat:
    def repeat() -> Mapping[str, float]:
        raise ModelError("out of memory at work", "Take a smaller one.")

    return repeat


def raises(case: FakeCase) -> Repeat:
    raise ValueError("its last words")


def is_killed(case: FakeCase) -> Repeat:
    def repeat() -> Mapping[str, float]:
        print("loading the weights", flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    return repeat


def never_ends(case: FakeCase) -> Repeat:
    _journal(case, f"never_ends prepares in {os.getpid()}")

    def repeat() -> Mapping[str, float]:
        _journal(case, f"never_ends works in {os.getpid()}")
        time.sleep(3600)
        return {}

    return repeat


def works_twice(case: FakeCase) -> Repeat:
    """And never comes to an end of the third repeat."""
    _journal(case, f"works_twice prepares in {os.getpid()}")
    done = 0

    def repeat() -> Mapping[str, float]:
        nonlocal done
        done += 1
        _journal(case, f"works_twice works in {os.getpid()}")
        if done > 2:
            time.sleep(3600)
        return {"rows": 1}

    return repeat


def made_before(case: FakeCase) -> None:
    _journal(case, f"made in {os.getpid()}")


def prepared_by_one_that_holds_200_mb(case: FakeCase) -> Repeat:
    subprocess.run([sys.executable, "-c", "b'x' * 200_000_000"], check=True)
    return lambda: {"rows": 1}


def starts_one_that_holds_200_mb(case: FakeCase) -> Repeat:
    def repeat() -> Mapping[str, float]:
        subprocess.run([sys.executable, "-c", "b'x' * 200_000_000"], check=True)
        return {"rows": 1}

    return repeat
