"""In which floating-point format a student computes: asked by who plans, so nothing here needs torch.

bfloat16 wherever the machine has instructions for it. On an Intel Xeon with AMX matrix products take a quarter of the
time that they take in float32, on an AMD EPYC with AVX512-BF16 about 0.6 of it. On a CPU without, PyTorch rounds and
widens in software. It can be asked for there, since a run that was begun elsewhere goes on as it was begun.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ..visible_gpu import visible_gpu

ComputeDtype = Literal["float32", "bfloat16"]

_CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
_COMPUTE_CAPABILITY = 8
"""Of NVIDIA's GPUs: from Ampere on."""

_CPU_INFO = Path("/proc/cpuinfo")


def find_compute_dtype(wanted: Literal["auto"] | ComputeDtype, device: Literal["cpu", "cuda"]) -> ComputeDtype:
    """The format that `wanted` means on this machine."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if has_bfloat16(device) else "float32"


def has_bfloat16(device: Literal["cpu", "cuda"]) -> bool:
    """Whether the device has instructions for products in it."""
    if device == "cpu":
        return not _CPU_FLAGS.isdisjoint(_cpu_flags())
    import pynvml

    pynvml.nvmlInit()
    try:
        gpu = visible_gpu(pynvml)
        return gpu is not None and int(pynvml.nvmlDeviceGetCudaComputeCapability(gpu)[0]) >= _COMPUTE_CAPABILITY
    finally:
        pynvml.nvmlShutdown()


def _cpu_flags() -> set[str]:
    """As Linux lists those of the first CPU; none where it doesn't."""
    try:
        found = re.search(r"^flags\s*:(.*)$", _CPU_INFO.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()
