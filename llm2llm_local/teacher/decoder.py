"""llama.cpp's context: forward passes over many sequences, and the keys and values that they leave behind.

They lie in one pool of cells, where a prefix is shared by marking its cells, or in a stream for each sequence, where it
is copied (see `streams`). What flash attention gains or loses depends on the processor: see MOST_SCORES in `plan`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from ..errors import ModelError, OutOfMemoryError
from .gguf_model import GgufModel, memory_is_short
from .llama_log import collected_errors
from .protocol import TeacherSettings, kv_bytes_per_cell
from .schedule import CELLS_STEP, Copy, Pass, Remove, Sizes, whole_steps

_GGML_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0, "q4_0": llama_cpp.GGML_TYPE_Q4_0}
_FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_NO_CELL, _NO_BUFFER = 1, -2
"""What `llama_decode` returns when memory is short."""


class Decoder:
    """Holds a context of the size that was last asked for; `start` empties it."""

    def __init__(self, model: GgufModel, settings: TeacherSettings) -> None:
        self._model = model
        self._settings = settings
        self._context: Any = None
        self._sizes: Sizes | None = None
        kv_values = model.kv_values()
        self.bytes_per_cell = kv_bytes_per_cell(kv_values, settings.kv_type)
        self.max_cells = settings.kv_bytes // self.bytes_per_cell // CELLS_STEP * CELLS_STEP
        if not kv_values:  # cells that take no memory
            self.max_cells = whole_steps(settings.n_parallel * settings.context_length)
        self._batch = llama_cpp.llama_batch_init(settings.n_batch, 0, settings.n_parallel + 1)

    def close(self) -> None:
        self._free_context()
        llama_cpp.llama_batch_free(self._batch)

    def cells_for(self, wanted: int) -> int:
        """Cells to allocate for a unit that wants so many: rounded up, so that units alike need no new context."""
        step = max(CELLS_STEP, 1 << max(0, wanted.bit_length() - 3))
        return min(-(-wanted // step) * step, self.max_cells)

    def start(self, sizes: Sizes) -> None:
        """Empty keys and values, in `sizes.n_cells` cells. Raises OutOfMemoryError when they can't be had."""
        if self._context is None or sizes != self._sizes:
            self._free_context()
            self._context = self._new_context(sizes)
            self._sizes = sizes
        self._memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_clear(self._memory, True)

    def decode(self, one: Pass) -> None:
        """Raises OutOfMemoryError when llama.cpp finds no memory for it."""
        assert self._sizes is not None, "start comes first"
        for change in one.changes:
            match change:
                case Remove(sequence, start):
                    llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)
                case Copy(source, target, length) if self._sizes.has_streams:  # llama.cpp copies whole ones
                    llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
                    llama_cpp.llama_memory_seq_rm(self._memory, target, length, -1)
                case Copy(source, target, length):
                    llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)
        batch = self._batch
        for index, row in enumerate(one.rows):
            batch.token[index] = row.token
            batch.pos[index] = row.position
            batch.logits[index] = row.has_output
            batch.n_seq_id[index] = len(row.sequences)
            sequences = batch.seq_id[index]
            for place, sequence in enumerate(row.sequences):
                sequences[place] = sequence
        batch.n_tokens = len(one.rows)
        with collected_errors() as errors:
            code = llama_cpp.llama_decode(self._context, batch)
        if code == 0:
            return
        what = f"{self._model.path}: llama.cpp could not decode {len(one.rows)} tokens (code {code})"
        reason = errors[-1] if errors else "no reason given"
        if code in (_NO_CELL, _NO_BUFFER) or memory_is_short(errors):
            raise self._out_of_memory(f"{what}: {reason}")
        raise RuntimeError(f"{what}: {reason}")

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Of a row of the last pass, shape (vocabulary,); valid until the next one."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self._model.vocabulary_size,)
        )

    def _new_context(self, sizes: Sizes) -> Any:
        settings = self._settings
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = sizes.n_cells
        parameters.n_batch = parameters.n_ubatch = sizes.n_batch
        parameters.n_seq_max = sizes.n_sequences
        parameters.n_outputs_max = sizes.n_outputs
        parameters.n_threads = parameters.n_threads_batch = settings.threads
        parameters.type_k = parameters.type_v = _GGML_TYPES[settings.kv_type]
        parameters.flash_attn_type = _FLASH_ATTENTION["off" if sizes.has_streams else settings.flash_attention]
        parameters.kv_unified = not sizes.has_streams
        parameters.swa_full = True  # a prefix is whole even where a model looks back through a window only
        parameters.offload_kqv = parameters.op_offload = settings.gpu_layers != 0
        parameters.no_perf = True
        with collected_errors() as errors:
            context = llama_cpp.llama_init_from_model(self._model.handle, parameters)
        if context is not None:
            return context
        mebibytes = sizes.n_cells * self.bytes_per_cell / 2**20
        what = (
            f"{self._model.path}: no context of {sizes.n_cells} tokens ({mebibytes:.0f} MiB of {settings.kv_type} keys "
            f"and values, n_batch = {sizes.n_batch}, n_parallel = {settings.n_parallel})"
        )
        reason = errors[0] if errors else "no reason given"
        if memory_is_short(errors):
            raise self._out_of_memory(f"{what}: {reason}")
        raise ModelError(f"{what}: {reason}", 'Set teacher.kv_cache = "f16" and teacher.flash_attention = "auto".')

    def _out_of_memory(self, message: str) -> OutOfMemoryError:
        wishes = "teacher.n_parallel, teacher.n_batch"
        if self._settings.gpu_layers != 0:
            wishes += ", teacher.gpu_layers"
        return OutOfMemoryError(message, f"Free memory, or lower what is set by hand of {wishes}.", "context")

    def _free_context(self) -> None:
        if self._context is not None:
            llama_cpp.llama_free(self._context)
            self._context = None
