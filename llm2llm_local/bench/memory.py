"""The most memory that this process has held: resident, by Linux's own account, and on the GPU that runs use.

The kernel's high-water mark of the process is read from /proc and not from getrusage, whose maximum is handed on from
the parent when a process is started. Where it starts processes in its turn, the largest of those that have ended counts
if it was larger: at work, only if it was one that ended then.
"""

from __future__ import annotations

import re
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..visible_gpu import visible_gpu
from .plan import Memory

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""See proc(5): sets the high-water mark back to what is resident now."""

_SECONDS_BETWEEN_LOOKS = 0.05


class PeakMemory:
    """Watches from its construction on. `begin_work` is to be called once, when loading is over."""

    def __init__(self) -> None:
        self._before = self._child_before = 0
        self._gpu = _GpuWatch()

    def begin_work(self) -> None:
        """Count the peak of the work anew, where the kernel lets us; the peak of loading is kept beside it."""
        self._before, self._child_before = _high_water_bytes(), _largest_child_bytes()
        with suppress(OSError):  # where a container forbids it, the peak at work is that of the whole life
            _CLEAR.write_text(_RESET_PEAK)
        self._gpu.begin_work()

    def so_far(self) -> Memory:
        working, child = _high_water_bytes(), _largest_child_bytes()
        if child > self._child_before:  # the kernel never forgets the largest: below that, nothing is known of others
            working = max(working, child)
        return Memory(whole=max(self._before, working, child), working=working, gpu=self._gpu.peak_bytes())


def _high_water_bytes() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None  # every Linux since 2.6 has it
    return int(found[1]) * 1024


def _largest_child_bytes() -> int:
    """Of processes that were started here or there, and waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


class _GpuWatch:
    """The GPU's memory that came into use since the construction, looked at often.

    What other processes take meanwhile would count too: contenders on a GPU are to be measured one by one. PyTorch
    keeps its own account of what it asked for, which is exact; where it uses the GPU, that counts.
    """

    def __init__(self) -> None:
        self._peak = self._before = 0
        self._gpu = _gpu_in_use()
        if self._gpu is not None:
            self._before = _used_bytes(self._gpu)
            threading.Thread(target=self._watch, daemon=True).start()

    def begin_work(self) -> None:
        self._peak = 0
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what it keeps of its loading isn't needed at work
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int | None:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            return int(torch.cuda.max_memory_reserved())
        return None if self._gpu is None else self._peak

    def _watch(self) -> None:
        wait = threading.Event()
        while not wait.wait(_SECONDS_BETWEEN_LOOKS):
            self._peak = max(self._peak, _used_bytes(self._gpu) - self._before)


def _gpu_in_use() -> Any:
    """As its driver calls it; None when there is none, or the driver doesn't answer."""
    try:
        import pynvml

        pynvml.nvmlInit()  # until this process ends
        return visible_gpu(pynvml)
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None


def _used_bytes(gpu: Any) -> int:
    """Of all processes together."""
    import pynvml

    return int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
