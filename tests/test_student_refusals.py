"""Models that can't be loaded and examples that are too long are refused with their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import quiet
from safetensors.torch import load_file, save_file
from tiny_models import TinyModels
from trainings import EXAMPLES, PROMPTS, predict, settings, training
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from llm2llm_local.errors import ModelError
from llm2llm_local.student.lora import LoraStudent
from llm2llm_local.student.protocol import TrainingExample

pytestmark = pytest.mark.model


def test_an_example_longer_than_the_limit_is_named(tiny_models: TinyModels, tmp_path: Path) -> None:
    student = LoraStudent(settings(tiny_models.student, max_length=40))
    long = TrainingExample("question: What is this? " + "Please play the song. " * 20, " song")
    calls: tuple[Callable[[], object], ...] = (
        lambda: student.check_lengths((*EXAMPLES[3:4], long), quiet),
        lambda: student.train(training(tmp_path / "a", examples=(*EXAMPLES[3:4], long), epochs=1), quiet),
    )
    for call in calls:
        with pytest.raises(ModelError, match="question: What is this") as caught:
            call()
        assert "takes 40" in caught.value.message
        assert "student.max_length" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_at_most_the_models_own(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    change_json(folder / "config.json", max_position_embeddings=20)
    student = LoraStudent(settings(folder, max_length=4096))
    with pytest.raises(ModelError, match="takes 20"):
        student.check_lengths(EXAMPLES, quiet)


def test_the_limit_is_exact(tiny_models: TinyModels, student: LoraStudent) -> None:
    longest = student.check_lengths(EXAMPLES, quiet)
    assert LoraStudent(settings(tiny_models.student, max_length=longest)).check_lengths(EXAMPLES, quiet) == longest
    with pytest.raises(ModelError):
        LoraStudent(settings(tiny_models.student, max_length=longest - 1)).check_lengths(EXAMPLES, quiet)


@pytest.mark.parametrize(
    "model",
    [
        MambaForCausalLM(MambaConfig(vocab_size=600, hidden_size=32, num_hidden_layers=2)),
        Lfm2ForCausalLM(
            Lfm2Config(
                vocab_size=600,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                layer_types=["conv", "full_attention"],
            )
        ),
    ],
    ids=["Mamba", "LFM2"],
)
def test_layers_that_keep_a_state_are_refused(tiny_models: TinyModels, tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path)
    for file in tiny_models.student.glob("*token*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(ModelError, match="keep a state"):
        LoraStudent(settings(tmp_path))


def test_positions_beyond_the_learnt_ones_are_refused_before_any_is_asked_for(
    tiny_models: TinyModels, tmp_path: Path
) -> None:
    """GPT-2 has a row for each position and none for what comes after; a Llama computes them."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.student)
    folder = tmp_path / "gpt2"
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=64, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    student = LoraStudent(settings(folder))
    student.train(training(tmp_path / "adapter", epochs=1), quiet)
    longest = max(len(student._adapted.prompt_ids(prompt)) for prompt in PROMPTS)
    answers = predict(student, tmp_path / "adapter", max_new_tokens=64 - longest)
    assert len(answers) == len(PROMPTS)
    with pytest.raises(ModelError, match=f"a prompt has {longest} tokens, its answer up to {65 - longest}") as caught:
        predict(student, tmp_path / "adapter", max_new_tokens=65 - longest)
    assert "64 positions" in caught.value.message
    assert "student.max_new_tokens" in caught.value.remedy
    with pytest.raises(ModelError, match="64 positions"):
        predict(student, tmp_path / "adapter", completions=(" place", " person" * 64))

    llama = shutil.copytree(tiny_models.student, tmp_path / "llama")
    change_json(llama / "config.json", max_position_embeddings=longest + 5)
    student = LoraStudent(settings(llama))
    student.train(training(tmp_path / "other", epochs=1), quiet)
    assert len(predict(student, tmp_path / "other", max_new_tokens=9)) == len(PROMPTS)


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cut_the_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def cut_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])


def leave_a_weight_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "an empty tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "half a config": lambda folder: (folder / "config.json").write_text('{"model_type": "lla'),
    "an unknown architecture": lambda folder: change_json(folder / "config.json", model_type="martian"),
    "other shapes": lambda folder: change_json(folder / "config.json", hidden_size=128),
    "weights whose header is cut": cut_the_header,
    "weights that are cut": cut_the_weights,
    "a missing weight": leave_a_weight_out,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_cannot_be_loaded_is_named(tiny_models: TinyModels, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    DAMAGES[damage](folder)
    with pytest.raises(ModelError) as caught:
        LoraStudent(settings(folder))
    assert str(folder) in caught.value.message
    assert caught.value.remedy


def test_a_tokenizer_without_an_end_token_is_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_models.student, tmp_path / "model")
    change_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="no end-of-text token"):
        LoraStudent(settings(folder))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tiny_models: TinyModels) -> None:
    with pytest.raises(ModelError, match="no GPU"):
        LoraStudent(settings(tiny_models.student, device="cuda"))
