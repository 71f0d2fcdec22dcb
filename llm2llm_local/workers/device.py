"""Which device the models compute on: what the machine has, as far as what is installed can use it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib import metadata
from typing import Literal

from ..errors import ConfigError
from ..teacher.plan import Device
from ..visible_gpu import visible_gpu

Wanted = Literal["auto", "cpu", "cuda"]


def find_device(wanted: Wanted) -> Device:
    """The device that `wanted` means on this machine; "auto" is a GPU when the NVIDIA driver reports one that
    CUDA_VISIBLE_DEVICES shows and both libraries are builds for it.

    Raises ConfigError when a GPU is wanted and none answers.
    """
    if wanted == "cpu":
        return "cpu"
    is_there, reason = _look_for_gpu()
    if wanted == "cuda" and not is_there:
        raise ConfigError(f'hardware.device = "cuda", but there is no NVIDIA GPU ({reason})', 'Set "auto" or "cpu".')
    return "cuda" if is_there and (wanted == "cuda" or not without_cuda()) else "cpu"


def unused_gpu() -> str:
    """Why "auto" means the CPU although there is a GPU, or a driver for one; '' where it is as it should be."""
    is_there, reason = _look_for_gpu()
    if not is_there:
        return "" if reason in (_NO_DRIVER, _HIDDEN) else f"of a GPU the NVIDIA driver says: {reason}; see nvidia-smi"
    builds = " and ".join(without_cuda())
    return f"there is a GPU, but no build of {builds} for it; make setup CUDA=1 makes one" if builds else ""


def without_cuda() -> tuple[str, ...]:
    """Which of the libraries can't use a GPU, as they are installed."""
    missing = () if can_offload() else ("llama.cpp",)
    return (*missing, "PyTorch") if "+cpu" in metadata.version("torch") else missing


@cache
def can_offload() -> bool:
    """Whether llama.cpp can put layers on a GPU, as a worker would find it; not where it can't be imported."""
    program = [sys.executable, "-P", "-m", "llm2llm_local.teacher.offload"]
    return subprocess.run(program, capture_output=True, check=False).returncode == 0


_HIDDEN = "CUDA_VISIBLE_DEVICES shows none"
_NO_DRIVER = "there is no driver"


def _look_for_gpu() -> tuple[bool, str]:
    """Whether there is one, and why not."""
    import pynvml

    try:
        pynvml.nvmlInit()
        n_gpus = int(pynvml.nvmlDeviceGetCount())
        is_there = n_gpus > 0 and visible_gpu(pynvml) is not None
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        is_without = getattr(error, "value", None) == getattr(pynvml, "NVML_ERROR_LIBRARY_NOT_FOUND", 0)
        return False, _NO_DRIVER if is_without else str(error)
    return is_there, _HIDDEN if n_gpus else "the driver reports none"
