"""An adapter is a folder that is whole or not there, that PEFT reads, and that has the same bytes everywhere."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import quiet
from naive_student import NaiveStudent
from tiny_models import TinyModels
from trainings import LABELS, PROMPTS, folder_bytes, outcome, predict, segments, training

from llm2llm_local.errors import DiskError
from llm2llm_local.file_digest import folder_digest
from llm2llm_local.student import training as training_module
from llm2llm_local.student.checkpoint import complete_folder, save_adapter
from llm2llm_local.student.lora import LoraStudent

pytestmark = pytest.mark.model


def test_an_adapter_is_complete_and_its_hash_is_that_of_the_file(student: LoraStudent, tmp_path: Path) -> None:
    result = student.train(training(tmp_path / "adapter"), quiet)
    files = folder_bytes(tmp_path / "adapter")
    assert sorted(files) == ["adapter_config.json", "adapter_model.safetensors"]
    assert result.sha256 == folder_digest(tmp_path / "adapter")


@pytest.mark.parametrize("adapter_name", ["trained", "undecided"])
def test_peft_loads_the_adapter(
    tiny_models: TinyModels, student: LoraStudent, adapter_name: str, request: pytest.FixtureRequest
) -> None:
    adapter: Path = request.getfixturevalue(adapter_name)
    naive, base = NaiveStudent(tiny_models.student, adapter), NaiveStudent(tiny_models.student, None)
    predict(student, adapter, PROMPTS[:1], LABELS)  # now it holds this adapter
    ids = torch.tensor([naive.ids(PROMPTS[2])])
    with torch.inference_mode():
        logits = student._adapted.model(ids).logits
        assert torch.allclose(naive.model(ids).logits, logits, atol=1e-3)
        assert (base.model(ids).logits - logits).abs().max() > 0.1


def test_the_adapters_files_have_the_same_bytes_in_every_process(
    tiny_models: TinyModels, student: LoraStudent, tmp_path: Path
) -> None:
    """PEFT writes some lists in the order of hashes, which differ from process to process."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from llm2llm_local.student.lora import LoraStudent
from fakes import quiet
from trainings import settings, training
LoraStudent(settings(Path({str(tiny_models.student)!r}))).train(training(Path(sys.argv[1]), epochs=1), quiet)
"""
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there"],
        env={**os.environ, "PYTHONHASHSEED": "1"},  # here it is random
        check=True,
        capture_output=True,
    )
    student.train(training(tmp_path / "here", epochs=1), quiet)
    assert folder_bytes(tmp_path / "there") == folder_bytes(tmp_path / "here")
    assert len(json.loads((tmp_path / "here" / "adapter_config.json").read_text())["target_modules"]) >= 7


# --- the disk is full ---


def full_disk(*arguments: object) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_leaves_nothing(student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_an_adapter(model: Any, folder: Path) -> str:
        save_adapter(model, folder)
        return full_disk()

    monkeypatch.setattr(training_module, "save_adapter", half_an_adapter)
    with pytest.raises(DiskError, match="No space left on device") as caught:
        student.train(training(tmp_path / "adapter"), quiet)
    assert str(tmp_path / "adapter") in caught.value.message
    assert "llm2llm resume" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_fails_leaves_nothing(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "save_state", full_disk)
    with pytest.raises(DiskError):
        student.train(segments(tmp_path, 5)[0], quiet)
    assert list(tmp_path.iterdir()) == []


def test_after_a_failed_write_the_training_goes_on_as_if_nothing_had_been(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = segments(tmp_path / "one", 5)
    expected = [student.train(segment, quiet) for segment in parts]
    results = []
    for segment in segments(tmp_path / "two", 5):
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "save_adapter", full_disk)
            with pytest.raises(DiskError):
                student.train(segment, quiet)
        results.append(student.train(segment, quiet))
    assert outcome(results) == outcome(expected)


def test_a_failed_write_leaves_the_folder_that_was_there(
    student: LoraStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student.train(training(tmp_path / "adapter"), quiet)
    before = folder_bytes(tmp_path / "adapter")
    monkeypatch.setattr(training_module, "save_adapter", full_disk)
    with pytest.raises(DiskError):
        student.train(training(tmp_path / "adapter", rng_seed=8), quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert folder_bytes(tmp_path / "adapter") == before


def test_a_folder_that_was_there_is_replaced(tmp_path: Path) -> None:
    """A process that died after the rename, before its work was marked as done, leaves one."""
    folder = tmp_path / "adapter"
    for content in ("old", "new"):
        with complete_folder(folder) as temporary:
            assert not folder.exists() or (folder / "file").read_text() == "old"
            (temporary / "file").write_text(content)
    assert folder_bytes(folder) == {"file": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a machine that loses its power may be left with the name and without the content."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "adapter").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    with complete_folder(tmp_path / "adapter") as temporary:
        (temporary / "file").write_text("content")
    assert synced == [("file", False), (temporary.name, False), (tmp_path.name, True)]


@pytest.mark.parametrize("parent", ["a file", "a folder that can't be made"])
def test_a_folder_that_cannot_be_made_is_a_disk_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    if parent == "a file":
        (tmp_path / "there").write_text("")
    else:
        monkeypatch.setattr(Path, "mkdir", full_disk_when_making)
    with pytest.raises(DiskError, match="adapter"), complete_folder(tmp_path / "there" / "adapter"):
        pass


def full_disk_when_making(folder: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
    full_disk()


def test_the_folder_is_the_owners_alone(student: LoraStudent, tmp_path: Path) -> None:
    student.train(training(tmp_path / "adapter"), quiet)
    assert (tmp_path / "adapter").stat().st_mode & 0o777 == 0o700
