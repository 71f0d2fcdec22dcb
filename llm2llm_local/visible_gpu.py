"""Which GPU a run uses: the first that CUDA_VISIBLE_DEVICES shows, as NVML knows it.

NVML counts all GPUs of the machine whatever that variable says, while PyTorch and llama.cpp see the shown ones alone. A
number in it, or none, is taken for NVML's own, which follow the slots. CUDA would count the fastest first, so workers
are told to count in that order. Who has set CUDA_DEVICE_ORDER otherwise, on a machine with GPUs of different kinds, has
to name one by its UUID.
"""

from __future__ import annotations

import os
import re
from typing import Any

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"


def worker_environment() -> dict[str, str]:
    """This process's, in which CUDA counts GPUs as NVML does, unless a person wants another order."""
    return {_ORDER: "PCI_BUS_ID", **os.environ}


def visible_gpu(nvml: Any) -> Any:
    """NVML's handle of it; None when the variable shows none. `nvml`: the module pynvml, initialised.

    Raises NVMLError as NVML does.
    """
    shown = os.environ.get(_VARIABLE)
    if shown is None:
        return nvml.nvmlDeviceGetHandleByIndex(0)
    first = shown.split(",")[0].strip()
    if first.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    n_gpus = int(nvml.nvmlDeviceGetCount())
    if first.startswith("GPU-"):
        gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(n_gpus)]
        # As much of a UUID as tells it from the others is enough for CUDA.
        return next((gpu for gpu in gpus if _uuid(nvml, gpu).startswith(first)), None)
    number = re.match(r"\+?\d+", first)  # CUDA reads as far as there are digits; without any, nothing is shown
    index = int(number[0]) if number else n_gpus
    return nvml.nvmlDeviceGetHandleByIndex(index) if index < n_gpus else None


def _uuid(nvml: Any, gpu: Any) -> str:
    uuid: str | bytes = nvml.nvmlDeviceGetUUID(gpu)
    return uuid if isinstance(uuid, str) else uuid.decode(errors="replace")  # bytes in older versions
