"""What was measured on: hardware, versions, and whether something else was at work."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from .. import __version__
from ..visible_gpu import visible_gpu

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "llama-cpp-python", "trl")
_WORKERS_MODULE = "llm2llm_local.workers.main"
_SECONDS_OF_A_LOOK = 0.5
_MOST_BUSY = 0.2
"""Of a CPU, by other processes: what a quiet desktop needs."""

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """`cpus`: that this process may use. `gpu` and `driver` are empty without an NVIDIA GPU that it may use."""

    cpu: str
    cpus: int
    ram_bytes: int
    gpu: str
    gpu_bytes: int
    driver: str
    system: str

    def lines(self) -> list[str]:
        gpu = f"{self.gpu}, {self.gpu_bytes / _GIB:.0f} GiB, driver {self.driver}" if self.gpu else "no GPU"
        return [f"{self.cpu}, {self.cpus} CPUs in use, {self.ram_bytes / _GIB:.1f} GiB; {gpu}; {self.system}"]


def this_machine() -> Machine:
    gpu, gpu_bytes, driver = _gpu()
    return Machine(
        cpu=_cpu(),
        cpus=len(os.sched_getaffinity(0)),
        ram_bytes=psutil.virtual_memory().total,
        gpu=gpu,
        gpu_bytes=gpu_bytes,
        driver=driver,
        system=f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """Of this program, Python and the packages that compute; those that aren't installed are left out."""
    found = {"llm2llm-local": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def disturbances() -> Iterator[str]:
    """What is at work on this machine beside us, for a person to end before measuring again."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=_SECONDS_OF_A_LOOK) / 100 * cpus
    if busy > _MOST_BUSY:
        yield (
            f"the machine is not quiet: other processes use {busy:.1f} of {cpus} CPUs (load {load:.1f}); "
            "the figures are those of a busy machine"
        )
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if _WORKERS_MODULE in command:
            role = command[command.index(_WORKERS_MODULE) + 1]
            yield f"a run is at work: process {process.pid} is its {role}; pause or stop it, and measure again"


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _gpu() -> tuple[str, int, str]:
    """Name, bytes and driver of the GPU that runs use."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return "", 0, ""
    except pynvml.NVMLError:
        return "", 0, ""
    try:
        handle = visible_gpu(pynvml)
        if handle is None:
            return "", 0, ""
        name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
        # Bytes in older versions of the package.
        name, driver = (one if isinstance(one, str) else one.decode(errors="replace") for one in (name, driver))
        return name, int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), driver
    except pynvml.NVMLError:
        return "", 0, ""
    finally:
        pynvml.nvmlShutdown()
