"""What the machine and the processes of a run are doing at this moment, for a person who watches.

Sampling takes milliseconds and asks the operating system and the driver, so it belongs into a thread. Whatever can't
be measured (no GPU, no driver, a process that has just ended) is absent; nothing here fails.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

from ..visible_gpu import visible_gpu

_LEAST_SECONDS = 0.3
"""Between two looks at the CPUs: their times are counted in hundredths of a second."""

_WORKERS_MODULE = "llm2llm_local.workers.main"
ROLES = ("teacher", "student")


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that runs use. None: the driver doesn't tell."""

    name: str
    used_bytes: int
    total_bytes: int
    percent: int | None
    celsius: int | None
    watts: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `cpu_percent`: of all cores, since the look before; None at the first.

    `memory`: resident bytes of the run's process ("run") and of its workers, by role; only those that live.
    """

    gpu: Gpu | None
    cpu_percent: float | None
    load: float
    n_cpus: int
    ram_used_bytes: int
    ram_total_bytes: int
    memory: dict[str, int]


class Sampler:
    """Looks again and again; to be used by one thread at a time."""

    def __init__(self) -> None:
        self._has_looked = False
        self._looked_at = 0.0
        self._percent: float | None = None
        self._nvml: Any = None
        self._gpu: Any = None

    def sample(self, run_pid: int | None) -> Sample:
        """`run_pid`: the process that works on the run, if any does."""
        self._look_at_cpus()
        if not self._has_looked:
            self._open_driver()
        ram = psutil.virtual_memory()
        found = Sample(
            gpu=self._look_at_gpu(),
            cpu_percent=self._percent,
            load=os.getloadavg()[0],
            n_cpus=psutil.cpu_count() or 1,
            ram_used_bytes=ram.total - ram.available,
            ram_total_bytes=ram.total,
            memory={} if run_pid is None else _memory(run_pid),
        )
        self._has_looked = True
        return found

    def _look_at_cpus(self) -> None:
        """How busy they were since the look before; in an instant nothing can be counted."""
        at = time.monotonic()
        if at - self._looked_at >= _LEAST_SECONDS:
            percent = psutil.cpu_percent()
            self._percent, self._looked_at = percent if self._has_looked else None, at

    def _open_driver(self) -> None:
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            self._gpu = visible_gpu(pynvml)
            self._nvml = pynvml if self._gpu is not None else None
        except pynvml.NVMLError:
            pass  # no driver, or no GPU

    def _look_at_gpu(self) -> Gpu | None:
        if self._nvml is None:
            return None
        try:
            name = self._nvml.nvmlDeviceGetName(self._gpu)
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._gpu)
        except self._nvml.NVMLError:
            return None
        utilisation = self._ask("nvmlDeviceGetUtilizationRates")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return Gpu(
            name=name if isinstance(name, str) else name.decode(errors="replace"),  # bytes in older versions
            used_bytes=int(memory.used),
            total_bytes=int(memory.total),
            percent=None if utilisation is None else int(utilisation.gpu),
            celsius=self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            watts=None if milliwatts is None else milliwatts / 1000,
        )

    def _ask(self, function: str, *arguments: int) -> Any:
        """What some GPUs have no sensor for, or nobody may ask without rights."""
        try:
            return getattr(self._nvml, function)(self._gpu, *arguments)
        except self._nvml.NVMLError:
            return None


def _memory(run_pid: int) -> dict[str, int]:
    memory = {}
    try:
        run = psutil.Process(run_pid)
        memory["run"] = int(run.memory_info().rss)
        children = run.children()
    except psutil.Error:
        return memory
    for child in children:
        try:
            command = child.cmdline()
            if _WORKERS_MODULE in command:
                role = command[command.index(_WORKERS_MODULE) + 1]
                memory[role] = int(child.memory_info().rss)
        except psutil.Error:
            continue  # it has ended meanwhile
    return memory
