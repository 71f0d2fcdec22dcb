"""What is found out about the machine and a run's processes, with and without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator

import psutil
import pytest

from llm2llm_local.tui.hardware import Gpu, Sampler


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process that looks like the teacher's worker."""
    arguments = ["-c", "import sys; sys.stdin.read()", "llm2llm_local.workers.main", "teacher"]
    process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


class _NvmlError(Exception):
    pass


def nvml(**functions: object) -> types.ModuleType:
    """A driver's library that knows these functions and fails at the others."""

    class Nvml(types.ModuleType):
        NVMLError = _NvmlError
        NVML_TEMPERATURE_GPU = 0

        def __getattr__(self, name: str) -> object:
            def call(*_: object) -> object:
                if name not in functions:
                    raise _NvmlError(name)
                return functions[name]

            return call

    return Nvml("pynvml")


MEMORY = types.SimpleNamespace(used=5, total=8)
RATES = types.SimpleNamespace(gpu=87)


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, whatever this machine has."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml())


def test_a_runs_workers_are_found_among_its_children(worker: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        memory = Sampler().sample(os.getpid()).memory
        other.communicate()
    assert memory.keys() == {"run", "teacher"}
    assert all(size > 2**20 for size in memory.values())


def test_without_a_run_or_with_one_that_is_gone_there_is_the_machine_alone(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pid in (None, worker.pid):
        sample = Sampler().sample(pid)
        assert sample.memory == {}
        assert 0 < sample.ram_used_bytes < sample.ram_total_bytes


def test_how_busy_the_cpus_are_is_known_from_the_second_look_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, figures = 100.0, iter((99.0, 42.0, 43.0))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(psutil, "cpu_percent", lambda: next(figures))
    sampler = Sampler()
    assert sampler.sample(None).cpu_percent is None
    now += 1
    assert sampler.sample(None).cpu_percent == 42
    now += 0.01  # coming back to the screen
    assert sampler.sample(None).cpu_percent == 42
    now += 1
    assert sampler.sample(None).cpu_percent == 43


def test_a_gpu_is_asked_for_all_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByIndex": "gpu 0",
        "nvmlDeviceGetName": b"NVIDIA H100",
        "nvmlDeviceGetMemoryInfo": MEMORY,
        "nvmlDeviceGetUtilizationRates": RATES,
        "nvmlDeviceGetTemperature": 63,
        "nvmlDeviceGetPowerUsage": 312_400,
    }
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**answers))
    assert Sampler().sample(None).gpu == Gpu("NVIDIA H100", 5, 8, 87, 63, 312.4)


def test_a_sensor_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"nvmlInit": None, "nvmlDeviceGetHandleByIndex": 0, "nvmlDeviceGetName": "A"}
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**answers, nvmlDeviceGetMemoryInfo=MEMORY))
    assert Sampler().sample(None).gpu == Gpu("A", 5, 8, None, None, None)


@pytest.mark.parametrize("works", [[], ["nvmlInit"], ["nvmlInit", "nvmlDeviceGetHandleByIndex"]])
def test_a_driver_that_fails_is_no_gpu(monkeypatch: pytest.MonkeyPatch, works: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**dict.fromkeys(works)))
    assert Sampler().sample(None).gpu is None


def test_without_the_drivers_library_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Sampler().sample(None).gpu is None
