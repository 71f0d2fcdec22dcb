"""What tensors held goes back to the system: in processes of their own, since it is for the whole of a process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library isn't glibc")

_FREED_MIB = 128

_CODE = """
    import sys
    from pathlib import Path

    import torch

    from llm2llm_local.student.heap import give_back_freed_pages, spare_memory, spare_time

    def resident_mib():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024

    mebibytes, is_mapped, is_trimmed = float(sys.argv[1]), "mapped" in sys.argv, "trimmed" in sys.argv
    is_as_before = "as before" in sys.argv
    if is_mapped:
        spare_memory()
    elif is_as_before:
        spare_memory()
        spare_time()
    torch.ones(6 * 2**20)  # once it is freed, glibc takes what is smaller than its 24 MiB from the heap
    before = resident_mib()
    scattered = [torch.ones(int(mebibytes * 2**18)) for _ in range(int(2 * 128 / mebibytes))]
    between = [torch.ones(1000) for _ in range(100)]
    del scattered[::2]
    if is_trimmed:
        give_back_freed_pages()
    print(resident_mib() - before)
"""


def held_mib(mebibytes: float, *how: str) -> int:
    """What a process holds that had made 256 MiB of tensors and freed every second one."""
    code = textwrap.dedent(_CODE)
    command = [sys.executable, "-c", code, str(mebibytes), *how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.model  # no model, but seconds of torch
def test_large_blocks_are_given_back_at_once() -> None:
    given_back = held_mib(2, "mapped")
    for kept in (held_mib(2), held_mib(2, "as before")):
        assert kept > 1.8 * _FREED_MIB
    assert given_back < 1.2 * _FREED_MIB


@pytest.mark.model
def test_smaller_ones_are_given_back_when_told() -> None:
    kept, given_back = held_mib(0.5, "mapped"), held_mib(0.5, "mapped", "trimmed")
    assert kept > 1.8 * _FREED_MIB
    assert given_back < 1.2 * _FREED_MIB
