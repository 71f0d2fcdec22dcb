"""Which GPU is looked at where there are several: a driver's library made by hand, with three of them."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from llm2llm_local.bench.machine import this_machine
from llm2llm_local.bench.memory import _gpu_in_use
from llm2llm_local.errors import ConfigError
from llm2llm_local.tui.hardware import Sampler
from llm2llm_local.visible_gpu import visible_gpu
from llm2llm_local.workers import device
from llm2llm_local.workers.device import find_device, unused_gpu
from llm2llm_local.workers.memory import free_bytes
from llm2llm_local.workers.process import WorkerProcess

GIB = 2**30
UUIDS = ("GPU-0a11", "GPU-0b22", "GPU-0b33")
SLICE = "MIG-5c44"
MEMORY = {0: 16 * GIB, 1: 24 * GIB, 2: 80 * GIB, SLICE: 10 * GIB}
"""By handle, which is the index or the slice's UUID."""


class _NvmlError(Exception):
    pass


def _no_sensor(*_: object) -> None:
    raise _NvmlError("Not Supported")


def _of_index(index: int) -> int:
    if index not in range(len(UUIDS)):
        raise _NvmlError("Invalid Argument")
    return index


def _of_uuid(uuid: str) -> str:
    if uuid != SLICE:
        raise _NvmlError("Not Found")
    return uuid


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    nvml = types.ModuleType("pynvml")
    nvml.__dict__.update(
        NVMLError=_NvmlError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(UUIDS),
        nvmlDeviceGetHandleByIndex=_of_index,
        nvmlDeviceGetHandleByUUID=_of_uuid,
        nvmlDeviceGetUUID=lambda gpu: UUIDS[gpu].encode(),
        nvmlDeviceGetName=lambda gpu: f"GPU {gpu}",
        nvmlSystemGetDriverVersion=lambda: "550",
        nvmlDeviceGetUtilizationRates=_no_sensor,
        nvmlDeviceGetTemperature=_no_sensor,
        nvmlDeviceGetPowerUsage=_no_sensor,
        nvmlDeviceGetMemoryInfo=lambda gpu: types.SimpleNamespace(total=MEMORY[gpu], used=0, free=MEMORY[gpu]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(device, "without_cuda", lambda: ())
    return nvml


@pytest.mark.parametrize(
    ("shown", "gpu"),
    [
        (None, 0),
        ("0", 0),
        ("2,0", 2),
        (" 1 , 2", 1),
        ("1x", 1),
        ("GPU-0b33,GPU-0a11", 2),
        ("GPU-0b", 1),
        ("GPU-ffff", None),
        (SLICE, SLICE),
        ("", None),
        ("-1", None),
        ("3", None),
        ("NoDevFiles", None),
    ],
)
def test_the_gpu_is_the_first_that_cuda_shows(
    shown: str | None, gpu: int | str | None, driver: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert visible_gpu(driver) == gpu
    assert this_machine().gpu == ("" if gpu is None else f"GPU {gpu}")
    assert this_machine().gpu_bytes == (0 if gpu is None else MEMORY[gpu])
    assert _gpu_in_use() == gpu


def test_a_slice_that_is_not_there_is_no_gpu(driver: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-gone")
    with pytest.raises(_NvmlError):
        visible_gpu(driver)
    assert this_machine().gpu == ""
    assert _gpu_in_use() is None


@pytest.mark.parametrize(("shown", "free"), [("2", 80), ("GPU-0b22", 24), (SLICE, 10)])
def test_free_memory_is_that_of_the_gpu_which_is_used(shown: str, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert find_device("auto") == "cuda"
    assert free_bytes("cuda") == free * GIB
    found = Sampler().sample(None).gpu
    assert found is not None and found.total_bytes == free * GIB


@pytest.mark.parametrize(("wanted", "order"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_workers_count_gpus_as_nvml_does_unless_a_person_wants_another_order(
    wanted: str | None, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured free is free on the GPU that they take."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if wanted is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", wanted)
    worker = WorkerProcess("teacher", tmp_path / "teacher.log", 5, lambda: None)
    try:
        environment = Path(f"/proc/{worker.pid}/environ").read_text().split("\0")
    finally:
        worker.stop()
    assert f"CUDA_DEVICE_ORDER={order}" in environment
    assert f"PATH={os.environ['PATH']}" in environment


@pytest.mark.parametrize(("shown", "why"), [("", "CUDA_VISIBLE_DEVICES shows none"), ("MIG-gone", "Not Found")])
def test_a_gpu_that_is_not_shown_is_not_used(shown: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert find_device("auto") == "cpu"
    assert unused_gpu() == ("" if why.endswith("none") else f"of a GPU the NVIDIA driver says: {why}; see nvidia-smi")
    with pytest.raises(ConfigError, match=f"no NVIDIA GPU .{why}"):
        find_device("cuda")
    assert Sampler().sample(None).gpu is None


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (("llama.cpp",), "there is a GPU, but no build of llama.cpp for it; make setup CUDA=1 makes one"),
        (("llama.cpp", "PyTorch"), "there is a GPU, but no build of llama.cpp and PyTorch for it; make setup CUDA=1"),
        ((), ""),
    ],
)
def test_a_gpu_that_no_library_was_built_for_is_left_alone_and_told_of(
    missing: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set up without CUDA works on a workstation, too; one who wants its GPU is told what is missing."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "without_cuda", lambda: missing)
    assert (find_device("auto"), find_device("cuda")) == ("cpu" if missing else "cuda", "cuda")
    assert unused_gpu().startswith(told) and bool(unused_gpu()) == bool(told)


def test_a_machine_without_a_driver_has_no_gpu_to_tell_of(driver: types.ModuleType) -> None:
    def absent() -> None:
        error = _NvmlError("NVML Shared Library Not Found")
        error.value = 12  # type: ignore[attr-defined]
        raise error

    driver.__dict__.update(NVML_ERROR_LIBRARY_NOT_FOUND=12, nvmlInit=absent)
    assert (find_device("auto"), unused_gpu()) == ("cpu", "")
