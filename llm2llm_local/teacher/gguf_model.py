"""A GGUF file loaded by llama.cpp: its weights, vocabulary and metadata."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp

from ..errors import Llm2LlmError, ModelError, OutOfMemoryError
from ..model_files.gguf_file import read_gguf_header
from ..model_files.layers import layer_sizes
from .llama_log import collected_errors

_WORDS_FOR_NO_MEMORY = ("alloc", "out of memory", "not enough space")
"""What the errors of llama.cpp's backends have in common when memory is short."""

_NO_DEVICES = (ctypes.c_void_p * 1)()
"""A list of llama.cpp's with nothing before its end: a build for CUDA then leaves every GPU alone. With main_gpu = -1
it would use none, either, but ask each for its memory first, which takes some of it (llama_prepare_model_devices).
"""


def memory_is_short(errors: list[str]) -> bool:
    return any(word in error.lower() for error in errors for word in _WORDS_FOR_NO_MEMORY)


def no_numbers(path: Path) -> ModelError:
    """What to raise where a model's logits aren't finite."""
    return ModelError(
        f"{path}: its scores of the next token are no numbers",
        "Compare the file's checksum with its source's; it may be damaged.",
    )


class GgufModel:
    """Raises ModelError when llama.cpp can't load the file or knows no GPU for its layers, OutOfMemoryError when it
    doesn't fit.
    """

    def __init__(self, path: Path, gpu_layers: int) -> None:
        self.path = path
        if gpu_layers != 0 and not llama_cpp.llama_supports_gpu_offload():
            # It would load them into the machine's memory, and say nothing.
            raise ModelError(
                f"{path}: its layers can't be put on a GPU, since llama.cpp was built without CUDA",
                'Build it with make setup CUDA=1, or set hardware.device = "cpu".',
            )
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers if gpu_layers >= 0 else 2**31 - 1
        parameters.split_mode = llama_cpp.LLAMA_SPLIT_MODE_NONE  # one GPU, the one that the memory plan measured
        parameters.main_gpu = 0
        if gpu_layers == 0:
            parameters.devices = ctypes.addressof(_NO_DEVICES)
        llama_cpp.llama_backend_init()
        with collected_errors() as errors:
            handle = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if handle is None:
            raise self._loading_error(errors, gpu_layers)
        self.handle = handle
        self.vocabulary = llama_cpp.llama_model_get_vocab(handle)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        self.first_token = llama_cpp.llama_vocab_bos(self.vocabulary)
        self.last_token = llama_cpp.llama_vocab_eos(self.vocabulary)
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        llama_cpp.llama_model_free(self.handle)

    @property
    def shares_prefixes(self) -> bool:
        """A recurrent model keeps one state for a sequence, which can't be cut to a prefix."""
        return not (llama_cpp.llama_model_is_recurrent(self.handle) or llama_cpp.llama_model_is_hybrid(self.handle))

    def metadata(self, name: str) -> str | None:
        size = 2**14
        while True:
            buffer = bytes(size)
            length = llama_cpp.llama_model_meta_val_str(self.handle, name.encode(), buffer, size)
            if length < 0:
                return None
            if length < size:
                return buffer[:length].decode("utf-8", "replace")
            size = length + 1

    def kv_values(self) -> int:
        """Numbers in the keys and values of one token, all layers together; 0 in a model without attention.

        From the header, as the plan has it: llama.cpp tells the heads of the first layer only.
        """
        return sum(layer_sizes(read_gguf_header(self.path)).kv_values)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[int, ...]:
        """`add_special`: begin as the file says that texts begin; `parse_special`: read "<|im_end|>" as one token."""
        encoded = text.encode()
        room = len(encoded) + 8
        while True:
            tokens = (llama_cpp.llama_token * room)()
            n_tokens = llama_cpp.llama_tokenize(
                self.vocabulary, encoded, len(encoded), tokens, room, add_special, parse_special
            )
            if n_tokens >= 0:
                return tuple(tokens[:n_tokens])
            room = -n_tokens

    def tokenize_continuation(self, text: str) -> tuple[int, ...]:
        """The tokens of a text that goes on from another.

        SentencePiece vocabularies put a space before a text's first word; here it isn't the first. They are given
        a line end to begin with, which is a token of its own to them, and is left out again.
        """
        if llama_cpp.llama_vocab_type(self.vocabulary) != llama_cpp.LLAMA_VOCAB_TYPE_SPM:
            return self.tokenize(text, add_special=False, parse_special=False)
        before = self.tokenize("\n", add_special=False, parse_special=False)
        return self.tokenize("\n" + text, add_special=False, parse_special=False)[len(before) :]

    def piece(self, token: int) -> bytes:
        """A token's bytes, which need not be whole characters; special tokens have none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token)
        return known

    def ends_text(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocabulary, token))

    def token_text(self, token: int) -> str:
        """A token as the file spells it; "" for -1, llama.cpp's number for none."""
        return "" if token == -1 else llama_cpp.llama_vocab_get_text(self.vocabulary, token).decode("utf-8", "replace")

    def _read_piece(self, token: int) -> bytes:
        room = 32
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, room, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            room = -length

    def _loading_error(self, errors: list[str], gpu_layers: int) -> Llm2LlmError:
        if memory_is_short(errors):
            where = "the machine's memory" if gpu_layers == 0 else f"memory with gpu_layers = {gpu_layers}"
            remedy = "Free memory, or take a smaller model."
            if gpu_layers != 0:
                remedy = f"Lower teacher.gpu_layers. {remedy}"
            return OutOfMemoryError(f"{self.path}: does not fit into {where}: {errors[0]}", remedy, "weights")
        reason = errors[0] if errors else "no reason given"
        return ModelError(
            f"{self.path}: llama.cpp can't load it: {reason}",
            "An architecture that this llama.cpp doesn't know is the usual reason; see llm2llm models.",
        )
