"""How the teacher is loaded on this machine: how many layers on the GPU, how many sequences at once, which cache.

Pure: a plan is a function of the model's header, of the memory that was measured free, and of what the person set
by hand, so that it can be tested and printed without a model. What was set by hand is never changed, not even when
memory runs out. Since batched arithmetic depends on the batch, a plan is made once for a run and stored with it. Why
its figures are what they are is told in `reasons`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..byte_size import byte_size
from ..counted import counted
from ..model_files.layers import LayerSizes
from .protocol import KV_BLOCK, KV_BYTES, KvType, TeacherSettings, writes_in_streams
from .schedule import n_outputs, whole_steps

Device = Literal["cpu", "cuda"]
FlashAttention = Literal["auto", "on", "off"]

MOST_PARALLEL = 255
"""LLAMA_MAX_SEQ in llama.cpp's llama-cparams.h, without the trunk of `schedule`."""

_PROCESS_BYTES = 500 * 2**20
"""Interpreter, libraries and, on a GPU, the driver's own buffers."""

_HIDDEN_STATES = 16
"""Of each token in a forward pass, kept at once: those of the feed-forward layer are the wide ones."""

_DEFAULT_N_BATCH = 512
_LEAST_N_BATCH = 64
LEAST_CONTEXT = 2048
"""Room for one prompt with its reply that "auto" gives at least, where the model and memory have it."""

_MANY_SEQUENCES = 8
"""With so many at once most of what batching gains is there; so many are kept before the cache is quantized."""

MOST_SCORES = 2**30
"""Bytes that attention's scores may take on a CPU, to do without flash attention; a share of the free memory would let
replies depend on what else is open. What that gains depends on the processor, and is more than it may lose. Measured on
2 cores of an Intel Xeon with AMX (the bare loop; 32 requests of 200 shared tokens, 30 of their own and 48 written):
SmolLM2-135M 7.5 s without flash attention and 10.8 s with it, Qwen2.5-Coder-1.5B 35.9 s and 35.4 s. On an AMD EPYC
without AMX (SmolLM2-135M, 32 sequences): 190 tokens/s without it and 210 with it.
"""

USABLE_SHARE = 0.95
"""Share of the free memory that a plan may take: what fragments, and what other programs come to need, is beside it."""


@dataclass(frozen=True, slots=True)
class TeacherWishes:
    """What the configuration says; None stands for "auto".

    `group_size`: requests in a unit of work, which are decoded together. `request_tokens`: those of the longest
    prompt to be expected with its reply, rather too many than too few.
    """

    n_parallel: int | None
    context_length: int | None
    n_batch: int | None
    gpu_layers: int | None
    kv_type: KvType | None
    flash_attention: FlashAttention
    group_size: int
    request_tokens: int


@dataclass(frozen=True, slots=True)
class TeacherPlan:
    """How the teacher is loaded. Lasts as long as its run; `smaller` gives the next one.

    `gpu_layers` of `n_layers`, the output counting as one. `kv_bytes` are those of all layers, of which
    `kv_share_on_device` lies on the device; the other figures of bytes are of the device alone.
    `request_tokens`: those of the longest request to be expected, estimated from its text. `free_bytes`: when the
    plan was made. `by_hand`: names of the figures that the person set, as in the configuration. `lowered`: names of
    the figures that were lowered since memory ran out. `longest_request`: tokens of the longest prompt, as the model
    counts them, with its reply; None before any was looked at.
    """

    device: Device
    gpu_layers: int
    n_layers: int
    n_parallel: int
    context_length: int
    n_batch: int
    kv_type: KvType
    flash_attention: FlashAttention
    kv_bytes: int
    kv_bytes_per_token: float
    kv_share_on_device: float
    request_tokens: int
    weight_bytes: int
    compute_bytes: int
    process_bytes: int
    free_bytes: int
    fits: bool
    by_hand: tuple[str, ...]
    lowered: tuple[str, ...] = ()
    longest_request: int | None = None

    @property
    def n_cells(self) -> int:
        """Tokens whose keys and values may be kept; 0 in a model that keeps none."""
        return self.kv_bytes // max(1, math.ceil(self.kv_bytes_per_token))

    @property
    def writes_in_streams(self) -> bool:
        return writes_in_streams(self.gpu_layers, self.kv_type, self.flash_attention)

    @property
    def total_bytes(self) -> int:
        """All that the worker takes of the device's memory."""
        on_device = self.weight_bytes + self.compute_bytes + self.process_bytes
        return on_device + int(self.kv_bytes * self.kv_share_on_device)

    def settings(self, model: Path, threads: int) -> TeacherSettings:
        return TeacherSettings(
            model=model,
            context_length=self.context_length,
            threads=threads,
            gpu_layers=self.gpu_layers,
            n_parallel=self.n_parallel,
            n_batch=self.n_batch,
            kv_bytes=self.kv_bytes,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            context_is_by_hand="context_length" in self.by_hand,
        )

    def record(self) -> dict[str, Any]:
        """As JSON values, for the store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TeacherPlan:
        """Also from one of an earlier day, which had more (its reasons) or less."""
        names = {field.name for field in dataclasses.fields(cls)}
        figures = {name: value for name, value in record.items() if name in names}
        for name in ("by_hand", "lowered"):
            figures[name] = tuple(figures.get(name, ()))
        return cls(**figures)


def plan_teacher(sizes: LayerSizes, device: Device, free_bytes: int, wishes: TeacherWishes) -> TeacherPlan:
    """The best plan that fits; the smallest there is, with `fits` False, when none does.

    In this order: everything as wanted; fewer sequences at once, down to 8; a quantized cache, with fewer sequences
    still; fewer layers on the GPU.
    """
    plan = None
    for plan in _candidates(sizes, device, free_bytes, wishes):
        if plan.fits:
            break
    assert plan is not None
    return plan


def smaller(plan: TeacherPlan, sizes: LayerSizes, what: Literal["weights", "context"]) -> TeacherPlan | None:
    """The next plan to try when `what` of this one ran out of memory; None when nothing is left that "auto" may change.

    Weights: half the layers on the GPU. Context, in this order: half the sequences and their cache, down to what one
    request needs (without attention there is no cache: half the sequences, down to one); a quantized cache; half the
    tokens in a forward pass; half the layers on the GPU, which cost the most speed. Each has a limit, so this ends.
    """
    changes = _smaller_context(plan, sizes) if what == "context" else {}
    if not changes and plan.gpu_layers and "gpu_layers" not in plan.by_hand:
        changes = {"gpu_layers": plan.gpu_layers // 2}
    if not changes:
        return None
    lowered = [name for name, value in changes.items() if value != getattr(plan, name)]
    changes["lowered"] = tuple(dict.fromkeys([*plan.lowered, *lowered]))
    return _measured(dataclasses.replace(plan, **changes), sizes)


def _smaller_context(plan: TeacherPlan, sizes: LayerSizes) -> dict[str, Any]:
    """What changes; empty when nothing may."""
    is_by_hand = "context_length" in plan.by_hand
    one_request = plan.context_length if is_by_hand else plan.longest_request or plan.request_tokens
    least, least_batch = whole_steps(one_request), max(_LEAST_N_BATCH, plan.n_parallel)
    if plan.n_cells > least:
        cells = max(whole_steps(plan.n_cells // 2), least)
        changes: dict[str, Any] = {"kv_bytes": plan.kv_bytes // plan.n_cells * cells}
        if "n_parallel" not in plan.by_hand:
            changes["n_parallel"] = max(1, plan.n_parallel // 2)
        if not is_by_hand:
            changes["context_length"] = min(plan.context_length, cells)
        return changes
    if not plan.n_cells and plan.n_parallel > 1 and "n_parallel" not in plan.by_hand:
        return {"n_parallel": plan.n_parallel // 2}  # each has a state, however long it is
    has_flash = plan.flash_attention != "off" or "flash_attention" not in plan.by_hand
    may_quantize = can_quantize(sizes) and has_flash and "kv_cache" not in plan.by_hand
    if plan.kv_type == "f16" and may_quantize:
        per_token = sum(sizes.kv_values) * KV_BYTES["q8_0"]
        return {
            "kv_type": "q8_0",
            "flash_attention": "on",
            "kv_bytes": plan.n_cells * math.ceil(per_token),
            "kv_bytes_per_token": per_token,
        }
    if plan.n_batch > least_batch and "n_batch" not in plan.by_hand:
        return {"n_batch": max(least_batch, plan.n_batch // 2)}
    return {}


def plan_words(plan: TeacherPlan) -> str:
    """The figures on one line."""
    layers = "" if plan.device == "cpu" else f"{plan.gpu_layers} of {plan.n_layers} layers on the GPU, "
    return (
        f"{layers}{counted(plan.n_parallel, 'sequence')} at once, {byte_size(plan.kv_bytes)} of keys and values in "
        f"{plan.kv_type}, {counted(plan.n_batch, 'token')} in a forward pass, up to "
        f"{counted(plan.context_length, 'token')} for a prompt with its reply"
    )


def numbers_of_sequences(wishes: TeacherWishes) -> list[int]:
    """How many at once may be tried, from all that could be of use down to one; what is set by hand, alone, but no more
    than a unit has requests.

    Each takes a token of every forward pass.
    """
    if wishes.n_parallel is not None:
        return [min(wishes.n_parallel, wishes.group_size)]
    found = [min(wishes.group_size, MOST_PARALLEL, wishes.n_batch or _DEFAULT_N_BATCH)]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def enough_sequences(wishes: TeacherWishes) -> int:
    """The least of those numbers that precision gives way to, and layers on the GPU where they don't all fit.

    Only in a first plan, which leaves out layers one by one: `smaller` halves them, and gives up sequences first.
    """
    numbers = numbers_of_sequences(wishes)
    return min(n for n in numbers if n >= min(numbers[0], _MANY_SEQUENCES))


def can_quantize(sizes: LayerSizes) -> bool:
    """Whether llama.cpp takes a quantized cache of this model: heads are whole blocks."""
    return sizes.head_values > 0 and sizes.head_values % KV_BLOCK == 0


def _candidates(sizes: LayerSizes, device: Device, free_bytes: int, wishes: TeacherWishes) -> Iterator[TeacherPlan]:
    """All that may be tried, the best first."""
    halvings, enough = numbers_of_sequences(wishes), enough_sequences(wishes)
    many = [n for n in halvings if n >= enough]
    may_quantize = can_quantize(sizes) and wishes.flash_attention != "off"
    first: KvType = wishes.kv_type or "f16"
    last: KvType = first if wishes.kv_type or not may_quantize else "q8_0"
    layers = 0 if device == "cpu" else sizes.n_layers
    if device == "cuda" and wishes.gpu_layers is not None:
        layers = min(wishes.gpu_layers, sizes.n_layers)

    def plan(kv_type: KvType, n_parallel: int, gpu_layers: int) -> TeacherPlan:
        return _plan(sizes, device, free_bytes, wishes, kv_type, n_parallel, gpu_layers)

    for n_parallel in many if first != last else halvings:
        yield plan(first, n_parallel, layers)
    for n_parallel in halvings if first != last else ():
        yield plan(last, n_parallel, layers)
    fewer = range(layers - 1, -1, -1) if wishes.gpu_layers is None else ()
    for gpu_layers in fewer:
        yield plan(last, enough, gpu_layers)
    for gpu_layers in fewer:
        yield plan(last, halvings[-1], gpu_layers)


def _plan(
    sizes: LayerSizes,
    device: Device,
    free_bytes: int,
    wishes: TeacherWishes,
    kv_type: KvType,
    n_parallel: int,
    gpu_layers: int,
) -> TeacherPlan:
    per_value = KV_BYTES[kv_type]
    per_token = sum(sizes.kv_values) * per_value
    one = wishes.context_length or min(max(wishes.request_tokens, LEAST_CONTEXT), sizes.context_length)
    # No request is longer than what it may be, however long the person's rows are.
    request_tokens = min(wishes.request_tokens, wishes.context_length or sizes.context_length)
    in_streams = writes_in_streams(gpu_layers, kv_type, wishes.flash_attention)
    tokens = whole_steps(max(one, n_parallel * (whole_steps(request_tokens) if in_streams else request_tokens)))
    context_length = wishes.context_length or min(sizes.context_length, tokens)
    unmeasured = TeacherPlan(
        device=device,
        gpu_layers=gpu_layers,
        n_layers=sizes.n_layers,
        n_parallel=n_parallel,
        context_length=context_length,
        n_batch=wishes.n_batch or _DEFAULT_N_BATCH,
        kv_type=kv_type,
        flash_attention=_flash_attention(sizes, device, wishes, kv_type, tokens),
        kv_bytes=tokens * math.ceil(per_token),
        kv_bytes_per_token=per_token,
        kv_share_on_device=0.0,
        request_tokens=min(request_tokens, context_length),
        weight_bytes=0,
        compute_bytes=0,
        process_bytes=_PROCESS_BYTES,
        free_bytes=free_bytes,
        fits=False,
        by_hand=tuple(
            name
            for name, value in (
                ("n_parallel", wishes.n_parallel),
                ("context_length", wishes.context_length),
                ("n_batch", wishes.n_batch),
                ("gpu_layers", wishes.gpu_layers if device == "cuda" else None),
                ("kv_cache", wishes.kv_type),
                ("flash_attention", None if wishes.flash_attention == "auto" else wishes.flash_attention),
            )
            if value is not None
        ),
    )
    return _measured(unmeasured, sizes)


def _flash_attention(
    sizes: LayerSizes, device: Device, wishes: TeacherWishes, kv_type: KvType, n_cells: int
) -> FlashAttention:
    if kv_type != "f16":
        return "on"
    if wishes.flash_attention == "auto" and device == "cpu":
        scores = (wishes.n_batch or _DEFAULT_N_BATCH) * _score_bytes(sizes, n_cells)
        return "off" if scores <= MOST_SCORES else "auto"
    return wishes.flash_attention


def _measured(plan: TeacherPlan, sizes: LayerSizes) -> TeacherPlan:
    """With the figures of bytes that follow from the others."""
    measured = dataclasses.replace(
        plan,
        kv_share_on_device=_kv_share(sizes, plan.device, plan.gpu_layers),
        weight_bytes=_weight_bytes(sizes, plan.device, plan.gpu_layers),
        compute_bytes=_compute_bytes(sizes, plan),
    )
    return dataclasses.replace(measured, fits=measured.total_bytes <= measured.free_bytes * USABLE_SHARE)


def _on_device(sizes: LayerSizes, device: Device, gpu_layers: int) -> slice:
    """Of the repeated layers, those on the device with their part of the cache: llama.cpp puts the output there first
    and then the layers from the last backwards (load_tensors in llama-model.cpp), so that k are k - 1 and the output.
    """
    n_repeated = len(sizes.layer_bytes)
    return slice(0 if device == "cpu" else min(n_repeated, sizes.n_layers - gpu_layers), None)


def _weight_bytes(sizes: LayerSizes, device: Device, gpu_layers: int) -> int:
    """On the device. A machine's memory holds the embeddings of tokens, too; a tied output there is the same matrix."""
    layers = sum(sizes.layer_bytes[_on_device(sizes, device, gpu_layers)])
    if device == "cpu":
        return layers + sizes.output_bytes + (0 if sizes.is_tied else sizes.input_bytes)
    return layers + (sizes.output_bytes if gpu_layers else 0)


def _kv_share(sizes: LayerSizes, device: Device, gpu_layers: int) -> float:
    """Of the cache's bytes, those on the device; a model without attention keeps none."""
    kept = sum(sizes.kv_values)
    return sum(sizes.kv_values[_on_device(sizes, device, gpu_layers)]) / kept if kept else 0.0


def host_bytes(plan: TeacherPlan, sizes: LayerSizes) -> int:
    """Of the machine's memory, beside a GPU's: embeddings of tokens, layers left there and their keys and values.

    0 where there is no GPU: the machine's is the device's, then.
    """
    if plan.device == "cpu":
        return 0
    left = sizes.layer_bytes[: _on_device(sizes, plan.device, plan.gpu_layers).start]
    output = 0 if plan.gpu_layers or sizes.is_tied else sizes.output_bytes
    return sizes.input_bytes + sum(left) + output + int(plan.kv_bytes * (1 - plan.kv_share_on_device))


def _compute_bytes(sizes: LayerSizes, plan: TeacherPlan) -> int:
    """Buffers of a forward pass: scores of the vocabulary for each row that is sampled from; some hidden states for
    each token of the batch, and who may look at whom; without flash attention the attention of every head, too. The
    state of a recurrent layer, one for each sequence, isn't counted.
    """
    for_each = 4 * _HIDDEN_STATES * sizes.n_embd + 6 * plan.n_cells
    if plan.flash_attention == "off":
        for_each += _score_bytes(sizes, plan.n_cells)
    elif plan.writes_in_streams:
        for_each += _score_bytes(sizes, whole_steps(plan.request_tokens))
    return plan.n_batch * for_each + 2 * 4 * sizes.vocab_size * n_outputs(plan.n_parallel)


def _score_bytes(sizes: LayerSizes, n_cells: int) -> int:
    """Attention's scores of a token in a layer, which flash attention does without."""
    return 4 * sizes.n_head * n_cells
