"""How the teacher is loaded on this machine: how many layers on the GPU, how many sequences at once, which cache.

Pure: a plan is a function of the model's header, of the memory that was measured free, and of what the person set
by hand, so that it can be tested and printed without a model. What was set by hand is never changed, not even when
memory runs out. Since batched arithmetic depends on the batch, a plan is made once for a run and stored with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..counted import counted
from ..model_files.layers import LayerSizes
from .protocol import KV_BYTES, KvType, TeacherSettings
from .schedule import CELLS_STEP, LEAST_OUTPUTS

Device = Literal["cpu", "cuda"]
FlashAttention = Literal["auto", "on", "off"]

MOST_PARALLEL = 256
"""LLAMA_MAX_SEQ in llama.cpp's llama-cparams.h."""

_PROCESS_BYTES = 500 * 2**20
"""Interpreter, libraries and, on a GPU, the driver's own buffers."""

_HIDDEN_STATES = 16
"""Of each token in a forward pass, kept at once: those of the feed-forward layer are the wide ones."""

_KV_BLOCK = 32
_DEFAULT_N_BATCH = 512
_LEAST_N_BATCH = 64
_LEAST_CONTEXT = 2048
"""Room for one prompt with its reply that "auto" gives at least, where the model and memory have it."""

_MANY_SEQUENCES = 8
"""With so many at once most of what batching gains is there; so many are kept before the cache is quantized."""

_USABLE = 0.95
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
    """How the teacher is loaded, and why. Lasts as long as its run; `smaller` gives the next one.

    `gpu_layers` of `n_layers`, the output counting as one. `kv_bytes` are those of all layers, of which
    `kv_share_on_device` lies on the device; the other figures of bytes are of the device alone.
    `by_hand`: names of the figures that the person set. `reasons`: a sentence for each figure.
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
    head_values: int
    weight_bytes: int
    compute_bytes: int
    process_bytes: int
    free_bytes: int
    fits: bool
    by_hand: tuple[str, ...]
    reasons: tuple[str, ...]

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
        )

    def record(self) -> dict[str, Any]:
        """As JSON values, for the store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TeacherPlan:
        return cls(**{**record, "by_hand": tuple(record["by_hand"]), "reasons": tuple(record["reasons"])})


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
    return dataclasses.replace(plan, reasons=tuple(_reasons(plan, sizes, wishes)))


def smaller(plan: TeacherPlan, sizes: LayerSizes, what: Literal["weights", "context"]) -> TeacherPlan | None:
    """The next plan to try when `what` of this one ran out of memory; None when nothing is left that "auto" may change.

    Weights: half the layers on the GPU. Context, in this order: half the sequences and their cache, down to what one
    request needs; a quantized cache; half the tokens in a forward pass; half the layers on the GPU. Each has a limit,
    so this ends.
    """
    found = _smaller_context(plan) if what == "context" else None
    changes, why = found or _fewer_layers(plan, sizes)
    if not changes:
        return None
    reasons = (*plan.reasons, f"smaller after memory ran out: {why}")
    next_one = dataclasses.replace(plan, **changes, reasons=reasons)
    return dataclasses.replace(next_one, fits=next_one.total_bytes <= next_one.free_bytes * _USABLE)


def _fewer_layers(plan: TeacherPlan, sizes: LayerSizes) -> tuple[dict[str, Any], str]:
    """What changes; nothing when none may be taken off the device."""
    if not plan.gpu_layers or "gpu_layers" in plan.by_hand:
        return {}, ""
    layers = plan.gpu_layers // 2
    changes = {
        "gpu_layers": layers,
        "weight_bytes": _weight_bytes(sizes, plan.device, layers),
        "kv_share_on_device": _kv_share(sizes, plan.device, layers),
    }
    return changes, f"{layers} of {counted(plan.n_layers, 'layer')} on the GPU"


def _smaller_context(plan: TeacherPlan) -> tuple[dict[str, Any], str] | None:
    one_request = plan.context_length if "context_length" in plan.by_hand else plan.request_tokens
    cell = max(1, max(1, math.ceil(plan.kv_bytes_per_token)))
    cells, least = plan.kv_bytes // cell, _padded(one_request)
    changes: dict[str, Any]
    if cells > least:
        cells = max(_padded(cells // 2), least)
        changes = {"kv_bytes": cells * cell}
        if "n_parallel" not in plan.by_hand:
            changes["n_parallel"] = max(1, plan.n_parallel // 2)
        if "context_length" not in plan.by_hand:
            changes["context_length"] = min(plan.context_length, cells)
        why = f"{_size(cells * cell)} for keys and values"
    elif (
        plan.kv_type == "f16"
        and "kv_cache" not in plan.by_hand
        and _may_quantize(plan.head_values, plan.flash_attention)
    ):
        per_token = plan.kv_bytes_per_token * KV_BYTES["q8_0"] / KV_BYTES["f16"]
        changes = {
            "kv_type": "q8_0",
            "flash_attention": "on",
            "kv_bytes": cells * math.ceil(per_token),
            "kv_bytes_per_token": per_token,
        }
        why = "keys and values in 8 bits"
    elif plan.n_batch > _LEAST_N_BATCH and "n_batch" not in plan.by_hand:
        n_batch = max(_LEAST_N_BATCH, plan.n_batch // 2)
        changes = {"n_batch": n_batch, "compute_bytes": plan.compute_bytes * n_batch // plan.n_batch}
        why = f"{n_batch} tokens in a forward pass"
    else:
        return None
    return changes, why


def plan_words(plan: TeacherPlan) -> str:
    """The figures on one line."""
    layers = "" if plan.device == "cpu" else f"{plan.gpu_layers} of {plan.n_layers} layers on the GPU, "
    return (
        f"{layers}{counted(plan.n_parallel, 'sequence')} at once, {_size(plan.kv_bytes)} of keys and values in "
        f"{plan.kv_type}, {plan.n_batch} tokens in a forward pass, up to {plan.context_length} tokens for a prompt "
        "with its reply"
    )


def _candidates(sizes: LayerSizes, device: Device, free_bytes: int, wishes: TeacherWishes) -> Iterator[TeacherPlan]:
    """All that may be tried, the best first."""
    wanted = wishes.n_parallel or min(wishes.group_size, MOST_PARALLEL)
    halvings = [wanted] if wishes.n_parallel else _halvings(wanted)
    many = [n for n in halvings if n >= min(wanted, _MANY_SEQUENCES)]
    can_quantize = _may_quantize(sizes.head_values, wishes.flash_attention)
    first: KvType = wishes.kv_type or "f16"
    last: KvType = first if wishes.kv_type or not can_quantize else "q8_0"
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
        yield plan(last, many[-1], gpu_layers)
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
    one = wishes.context_length or min(max(wishes.request_tokens, _LEAST_CONTEXT), sizes.context_length)
    # No request is longer than what it may be, however long the person's rows are.
    request_tokens = min(wishes.request_tokens, wishes.context_length or sizes.context_length)
    tokens = _padded(max(one, n_parallel * request_tokens))
    context_length = wishes.context_length or min(sizes.context_length, tokens)
    n_batch = wishes.n_batch or _DEFAULT_N_BATCH
    weights = _weight_bytes(sizes, device, gpu_layers)
    kv_bytes = tokens * math.ceil(per_token)
    kv_share = _kv_share(sizes, device, gpu_layers)
    compute = _compute_bytes(sizes, n_batch, n_parallel, tokens, has_flash=wishes.flash_attention != "off")
    total = weights + int(kv_bytes * kv_share) + compute + _PROCESS_BYTES
    return TeacherPlan(
        device=device,
        gpu_layers=gpu_layers,
        n_layers=sizes.n_layers,
        n_parallel=n_parallel,
        context_length=context_length,
        n_batch=n_batch,
        kv_type=kv_type,
        flash_attention="on" if kv_type != "f16" else wishes.flash_attention,
        kv_bytes=kv_bytes,
        kv_bytes_per_token=per_token,
        kv_share_on_device=kv_share,
        request_tokens=min(request_tokens, context_length),
        head_values=sizes.head_values,
        weight_bytes=weights,
        compute_bytes=compute,
        process_bytes=_PROCESS_BYTES,
        free_bytes=free_bytes,
        fits=total <= free_bytes * _USABLE,
        by_hand=tuple(
            name
            for name, value in (
                ("n_parallel", wishes.n_parallel),
                ("context_length", wishes.context_length),
                ("n_batch", wishes.n_batch),
                ("gpu_layers", wishes.gpu_layers),
                ("kv_cache", wishes.kv_type),
                ("flash_attention", None if wishes.flash_attention == "auto" else wishes.flash_attention),
            )
            if value is not None
        ),
        reasons=(),
    )


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


def _compute_bytes(sizes: LayerSizes, n_batch: int, n_parallel: int, tokens: int, *, has_flash: bool) -> int:
    """Buffers of a forward pass: scores of the vocabulary for each row that is sampled from; some hidden states for
    each token of the batch, and who may look at whom; without flash attention the attention of every head, too.
    """
    for_each = 4 * _HIDDEN_STATES * sizes.n_embd + 6 * tokens
    if not has_flash:
        for_each += 4 * sizes.n_head * tokens
    return n_batch * for_each + 2 * 4 * sizes.vocab_size * max(n_parallel, LEAST_OUTPUTS)


def _reasons(plan: TeacherPlan, sizes: LayerSizes, wishes: TeacherWishes) -> Iterator[str]:
    def why(name: str, otherwise: str) -> str:
        return "set by hand" if name in plan.by_hand else otherwise

    wanted = min(wishes.group_size, MOST_PARALLEL)
    free = f"{_size(plan.free_bytes)} are free"
    if plan.device == "cuda":
        all_of_them = plan.gpu_layers == plan.n_layers
        fit = "all fit beside their cache" if all_of_them else f"more don't fit: {free}"
        yield f"{plan.gpu_layers} of {plan.n_layers} layers on the GPU: {why('gpu_layers', fit)}"
    fewer = "as many as a unit of work has requests" if plan.n_parallel == wanted else f"more don't fit: {free}"
    yield f"{counted(plan.n_parallel, 'sequence')} at once: {why('n_parallel', fewer)}"
    wide = "no loss of precision" if plan.kv_type == "f16" else f"in 16 bits they don't fit: {free}"
    yield f"keys and values in {plan.kv_type}: {why('kv_cache', wide)}"
    yield (
        f"{_size(plan.kv_bytes)} for them: {counted(plan.n_parallel, 'request')} of about "
        f"{plan.request_tokens} tokens, {plan.kv_bytes_per_token:,.0f} bytes a token"
    )
    limit = "what the model was made for" if plan.context_length == sizes.context_length else "what the cache holds"
    yield f"up to {plan.context_length} tokens for a prompt with its reply: {why('context_length', limit)}"
    yield f"{plan.n_batch} tokens in a forward pass: {why('n_batch', 'more gains little')}"
    if not plan.fits:
        yield f"even so about {_size(plan.total_bytes)} are needed, and {free}"


def _halvings(n: int) -> list[int]:
    found = [n]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _may_quantize(head_values: int, flash_attention: FlashAttention) -> bool:
    return head_values > 0 and head_values % _KV_BLOCK == 0 and flash_attention != "off"


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS_STEP) * CELLS_STEP


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"
