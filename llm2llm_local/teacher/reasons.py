"""Why each figure of a teacher's plan is what it is, in sentences that are true of that plan.

They are made of the plan at hand and never stored with it, so that they can't outlive its figures. What is said in the
past tense is of the day when it was planned; memory may have run out since.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..byte_size import byte_size
from ..counted import counted
from ..model_files.layers import LayerSizes
from .plan import (
    LEAST_CONTEXT,
    MOST_PARALLEL,
    MOST_SCORES,
    USABLE_SHARE,
    TeacherPlan,
    TeacherWishes,
    enough_sequences,
    numbers_of_sequences,
)
from .schedule import CELLS_STEP

_BY_HAND = "set by hand"
_RAN_OUT = "memory ran out with more"
_MOST = byte_size(MOST_SCORES)


def reasons(plan: TeacherPlan, sizes: LayerSizes, wishes: TeacherWishes) -> list[str]:
    """A sentence for each figure of a plan that `plan_teacher` made of these, or `smaller` of such a one."""
    return list(_sentences(plan, sizes, wishes))


def _sentences(plan: TeacherPlan, sizes: LayerSizes, wishes: TeacherWishes) -> Iterator[str]:
    if plan.device == "cuda":
        yield f"{plan.gpu_layers} of {counted(plan.n_layers, 'layer')} on the GPU: {_why_layers(plan)}"
    yield f"{counted(plan.n_parallel, 'sequence')} at once: {_why_sequences(plan, wishes)}"
    if plan.n_cells:
        yield f"keys and values in {plan.kv_type}: {_why_kv_type(plan, wishes)}"
        yield (
            f"{byte_size(plan.kv_bytes)} of keys and values, for {counted(plan.n_cells, 'token')} of "
            f"{plan.kv_bytes_per_token:,.0f} bytes: {_why_cells(plan, sizes)}"
        )
    else:
        yield "no keys and values: the model has no attention"
    yield f"up to {counted(plan.context_length, 'token')} for a prompt with its reply: {_why_context(plan, sizes)}"
    yield f"{counted(plan.n_batch, 'token')} in a forward pass: {_why_batch(plan)}"
    yield f"flash attention {_flash_attention(plan)}"
    if not plan.fits:
        yield (
            f"even so about {byte_size(plan.total_bytes)} are needed, more than {USABLE_SHARE:.0%} of "
            f"{_what_was_free(plan)}"
        )


def _what_was_free(plan: TeacherPlan) -> str:
    return f"the {byte_size(plan.free_bytes)} that were free"


def _why_layers(plan: TeacherPlan) -> str:
    if "gpu_layers" in plan.by_hand:
        return _BY_HAND
    if "gpu_layers" in plan.lowered:
        return _RAN_OUT
    return "all of them fit" if plan.gpu_layers == plan.n_layers else f"one more didn't fit into {_what_was_free(plan)}"


def _why_sequences(plan: TeacherPlan, wishes: TeacherWishes) -> str:
    if "n_parallel" in plan.by_hand:
        return _BY_HAND if plan.n_parallel == wishes.n_parallel else "no more than a unit of work has requests"
    if "n_parallel" in plan.lowered:
        return _RAN_OUT
    numbers, enough = numbers_of_sequences(wishes), enough_sequences(wishes)
    if plan.n_parallel >= numbers[0]:
        if plan.n_parallel == wishes.group_size:
            return "as many as a unit of work has requests"
        if plan.n_parallel == MOST_PARALLEL:
            return "llama.cpp takes no more"
        return "each takes a token of every forward pass"
    if plan.device == "cuda" and "gpu_layers" in plan.lowered:
        return f"as planned for {_what_was_free(plan)}"  # with how many layers is not known any more
    if plan.device == "cuda" and "gpu_layers" not in plan.by_hand and plan.gpu_layers < plan.n_layers:
        if plan.n_parallel == enough:
            return "most of what batching gains is there, and more would leave less room for layers on the GPU"
        return f"{enough} didn't fit into {_what_was_free(plan)}"
    more = min(n for n in numbers if n > plan.n_parallel)
    return f"{more} didn't fit into {_what_was_free(plan)}"


def _why_kv_type(plan: TeacherPlan, wishes: TeacherWishes) -> str:
    if "kv_cache" in plan.by_hand:
        return _BY_HAND
    if plan.kv_type == "f16":
        return "no loss of precision"
    if "kv_type" in plan.lowered:
        return "memory ran out with 16 bits"
    beside = ""
    if plan.device == "cuda":
        beside = f" beside {plan.gpu_layers if 'gpu_layers' in plan.by_hand else 'all'} layers"
    wanted = counted(enough_sequences(wishes), "sequence")
    return f"in f16 {wanted} didn't fit{beside} into {_what_was_free(plan)}"


def _why_cells(plan: TeacherPlan, sizes: LayerSizes) -> str:
    if "kv_bytes" in plan.lowered:
        return _RAN_OUT
    requests = f"{counted(plan.n_parallel, 'request')} of about {counted(plan.request_tokens, 'token')}"
    if plan.writes_in_streams:
        requests += f", each rounded up to a multiple of {CELLS_STEP}"
    is_by_hand = "context_length" in plan.by_hand
    least = plan.context_length if is_by_hand else min(LEAST_CONTEXT, sizes.context_length)
    if plan.n_parallel * plan.request_tokens >= least:
        return requests
    if is_by_hand:
        return "one request may have all of teacher.context_length"
    return f"more than {requests}, should one be longer"


def _why_context(plan: TeacherPlan, sizes: LayerSizes) -> str:
    if "context_length" in plan.by_hand:
        return _BY_HAND
    if plan.context_length == sizes.context_length:
        return "what the model was made for"
    return "as many as there is room for" if plan.n_cells else "no request is expected to be longer"


def _why_batch(plan: TeacherPlan) -> str:
    if "n_batch" in plan.by_hand:
        return _BY_HAND
    return _RAN_OUT if "n_batch" in plan.lowered else "llama.cpp's own choice"


def _flash_attention(plan: TeacherPlan) -> str:
    if "flash_attention" in plan.by_hand:
        return f"{plan.flash_attention}: {_BY_HAND}"
    if plan.flash_attention == "on":
        return "on: quantized keys and values need it"
    if plan.flash_attention == "off":
        return "off: on a CPU it is there to save memory"
    if plan.device == "cpu":
        return f"in scoring, where llama.cpp has it for the model: without it, attention would have taken over {_MOST}"
    return "where llama.cpp has it for the model: faster, in less memory"
