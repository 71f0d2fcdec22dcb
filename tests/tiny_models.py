"""A teacher and a student small enough for tests: the same random weights as a GGUF file and as a folder.

Real models in all that the tool touches (tokenizer, chat template, attention with shared keys, both file formats),
except that what they write means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TinyModels:
    """`teacher`: a GGUF file; `student`: a Hugging Face folder. Same weights, same tokenizer."""

    teacher: Path
    student: Path


def make_tiny_models(folder: Path, texts: Sequence[str]) -> TinyModels:
    """Writes tiny.gguf and tiny/ into `folder`: about 400 tokens learnt from `texts`, 2 layers, 125,248 weights.

    The same texts give the same bytes. Takes 0.1 s once torch and transformers are imported.
    """
    tokenizer = _train_tokenizer(texts)
    model = _random_model(tokenizer)
    made = TinyModels(teacher=folder / "tiny.gguf", student=folder / "tiny")
    model.save_pretrained(made.student)
    tokenizer.save_pretrained(made.student)
    _write_gguf(made.teacher, model, tokenizer)
    return made


def _train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    # What llama.cpp calls "smollm": every digit is a piece of its own, then GPT-2's split.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END_OF_TEXT, MESSAGE_START, MESSAGE_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=MESSAGE_START,
        eos_token=MESSAGE_END,
        pad_token=MESSAGE_END,
        unk_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
    )


def _random_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        # Tied embeddings would make a random model repeat its last token for ever.
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(20240315)
        model = LlamaForCausalLM(config)
        # Logits spread over ±10, so that a text depends on its prompt. Bytes that are no text of their own get a
        # logit of 0, which is next to never: what the model writes can be read.
        model.lm_head.weight.mul_(5)
        for token_id in range(len(tokenizer)):
            if token_id != tokenizer.eos_token_id and not _is_readable(tokenizer.decode([token_id])):
                model.lm_head.weight[token_id] = 0
        model.lm_head.weight[tokenizer.eos_token_id].mul_(1.5)  # about one text in three ends within 30 tokens
    # float16 as in a converted student; the GGUF holds the very same values.
    return model.eval().to(torch.float16)


def _is_readable(text: str) -> bool:
    return text not in (END_OF_TEXT, MESSAGE_START) and text.isascii() and (text.isprintable() or text == "\n")


def _write_gguf(path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        values = tensor.to(torch.float32).numpy()
        if name.endswith("q_proj.weight"):
            values = _interleave_rotary_pairs(values, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            values = _interleave_rotary_pairs(values, config.num_key_value_heads)
        writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _gguf_name(name: str) -> str:
    """llama.cpp's name for a weight of transformers' Llama."""
    for theirs, ours in {
        "model.embed_tokens": "token_embd",
        "model.layers.": "blk.",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.": "attn_",
        "mlp.": "ffn_",
        "_proj": "",
        "model.norm": "output_norm",
        "lm_head": "output",
    }.items():
        name = name.replace(theirs, ours)
    return name


def _interleave_rotary_pairs(weight: npt.NDArray[np.float32], n_head: int) -> npt.NDArray[np.float32]:
    """The rows of a query or key projection in llama.cpp's order.

    The values that rotary positions turn together are half a head apart in transformers and neighbours in llama.cpp.
    """
    rows, columns = weight.shape
    return weight.reshape(n_head, 2, rows // n_head // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def rewrite_gguf(
    source: Path,
    target: Path,
    changes: Mapping[str, Any] | None = None,
    more_tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Path:
    """Copies the GGUF file `source` to `target` with some of its metadata changed, added or (None) left out."""
    changes = changes or {}
    reader = gguf.GGUFReader(source)
    entries = {
        name: (field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.") and name not in changes
    }
    for name, value in changes.items():
        if isinstance(value, list):
            entries[name] = (value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.get_type(value[0]))
        elif value is not None:
            # Numbers are counts and token ids, which llama.cpp wants unsigned.
            kind = gguf.GGUFValueType.UINT32 if type(value) is int else gguf.GGUFValueType.get_type(value)
            entries[name] = (value, kind, None)
    architecture, _, _ = entries.pop("general.architecture")
    writer = gguf.GGUFWriter(target, architecture)
    for name, (value, kind, item_kind) in entries.items():
        writer.add_key_value(name, value, kind, item_kind)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors} | dict(more_tensors or {})
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def always_writes(tiny_models: TinyModels, folder: Path, token: str) -> Path:
    """The tiny teacher with weights that make one token the likeliest everywhere."""
    reader = gguf.GGUFReader(tiny_models.teacher)
    weights: dict[str, npt.NDArray[np.float32]] = {
        tensor.name: np.zeros_like(tensor.data)
        for tensor in reader.tensors
        if tensor.name.endswith(("attn_output.weight", "ffn_down.weight")) or tensor.name == "output.weight"
    }
    for tensor in reader.tensors:
        if tensor.name in ("token_embd.weight", "output_norm.weight"):
            weights[tensor.name] = np.ones_like(tensor.data)
    weights["output.weight"][reader.fields["tokenizer.ggml.tokens"].contents().index(token)] = 1
    return rewrite_gguf(tiny_models.teacher, folder / "constant.gguf", more_tensors=weights)
