"""How the teacher is planned for the memory there is: what gives way first, what a person set, what llama.cpp takes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import quiet, teacher_settings
from hypothesis import given
from hypothesis import strategies as st
from worker_pools import teacher_requests

from llm2llm_local.model_files.gguf_file import read_gguf_header
from llm2llm_local.model_files.layers import LayerSizes, layer_sizes
from llm2llm_local.teacher.plan import TeacherPlan, TeacherWishes, host_bytes, plan_teacher, plan_words, smaller
from llm2llm_local.teacher.reasons import reasons

if TYPE_CHECKING:
    from tiny_models import TinyModels

MIB, GIB = 2**20, 2**30
DEFAULT_TEACHER = Path(__file__).parents[1] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

EIGHT_B = LayerSizes(
    layer_bytes=(120 * MIB,) * 32,
    kv_values=(2 * 8 * 128,) * 32,
    input_bytes=280 * MIB,
    output_bytes=410 * MIB,
    is_tied=False,
    head_values=128,
    n_embd=4096,
    n_head=32,
    vocab_size=128_256,
    context_length=131_072,
)
"""As Llama 3.1 8B in about 4 bits."""

AUTO = TeacherWishes(None, None, None, None, None, "auto", group_size=32, request_tokens=1000)
BYTES_OF_A_TOKEN = 32 * 2 * 8 * 128 * 2


def plan(free: int, device: Any = "cuda", sizes: LayerSizes = EIGHT_B, **wishes: Any) -> TeacherPlan:
    return plan_teacher(sizes, device, free, dataclasses.replace(AUTO, **wishes))


def said(found: TeacherPlan, sizes: LayerSizes = EIGHT_B, **wishes: Any) -> list[str]:
    """Its reasons."""
    return reasons(found, sizes, dataclasses.replace(AUTO, **wishes))


def steps(first: TeacherPlan, sizes: LayerSizes = EIGHT_B, what: Any = "context") -> Iterator[TeacherPlan]:
    """Smaller and smaller, to the last."""
    step = smaller(first, sizes, what)
    while step is not None:
        yield step
        step = smaller(step, sizes, what)


def test_with_room_for_all_a_whole_unit_is_decoded_at_once() -> None:
    found = plan(24 * GIB)
    assert (found.gpu_layers, found.n_layers, found.n_parallel, found.kv_type) == (33, 33, 32, "f16")
    assert found.kv_bytes == 32_000 * BYTES_OF_A_TOKEN
    assert found.context_length == 32_000  # one request may have all of the cache
    assert found.fits
    assert found.flash_attention == "auto"


def test_a_cpu_does_without_flash_attention_unless_that_takes_much_memory() -> None:
    found = plan(24 * GIB, "cpu", group_size=16)
    assert (found.flash_attention, found.n_cells) == ("off", 16 * 1024)
    assert "flash attention off: on a CPU it is there to save memory" in said(found, group_size=16)
    assert any("16 requests of about 1,000 tokens, each rounded up" in one for one in said(found, group_size=16))
    with_flash = plan(24 * GIB, "cpu", group_size=16, request_tokens=1024, flash_attention="on")
    assert found.compute_bytes - with_flash.compute_bytes == 1024 * MIB
    many = plan(24 * GIB, "cpu", group_size=17)
    assert many.flash_attention == "auto"
    assert said(many, group_size=17)[-1].endswith("without it, attention would have taken over 1.0 GiB")
    assert next(one.flash_attention for one in steps(found) if one.kv_type == "q8_0") == "on"


@pytest.mark.parametrize(("group_size", "flash_attention"), [(16, "off"), (17, "auto")])
def test_whether_a_cpu_does_without_flash_attention_is_no_matter_of_the_moment(
    group_size: int, flash_attention: str
) -> None:
    """Two runs of one configuration would differ by what else is open."""
    found = [plan(free * GIB, "cpu", group_size=group_size) for free in (12, 16, 24, 64, 512)]
    assert {(one.flash_attention, one.n_parallel) for one in found} == {(flash_attention, group_size)}


def test_sequences_give_way_first_then_precision_then_layers() -> None:
    found = [plan(free * GIB // 4) for free in range(96, 0, -1)]
    assert [one.n_parallel for one in found if one.kv_type == "f16"] == sorted(
        (one.n_parallel for one in found if one.kv_type == "f16"), reverse=True
    )
    kinds = [(one.gpu_layers == 33, one.kv_type) for one in found if one.fits]
    assert list(dict.fromkeys(kinds)) == [(True, "f16"), (True, "q8_0"), (False, "q8_0")]
    layers = [one.gpu_layers for one in found if one.fits]
    assert layers == sorted(layers, reverse=True)
    assert min(one.n_parallel for one in found if one.kv_type == "f16") == 8
    assert all(one.flash_attention == "on" for one in found if one.kv_type == "q8_0")


@given(free=st.integers(0, 40 * GIB), device=st.sampled_from(["cpu", "cuda"]), group_size=st.integers(1, 1024))
def test_a_plan_that_fits_takes_no_more_than_is_free(free: int, device: str, group_size: int) -> None:
    found = plan(free, device, group_size=group_size)
    assert found.fits == (found.total_bytes <= free * 0.95)
    assert 1 <= found.n_parallel <= min(group_size, 255)
    assert found.gpu_layers == 0 or device == "cuda"
    # One request always has the context to itself, which the engine would refuse otherwise.
    assert found.kv_bytes >= found.context_length * found.kv_bytes_per_token


def test_what_is_not_on_the_gpu_is_in_the_machines_memory() -> None:
    """With no layer there, all of the weights and of the cache; with all of them, the embeddings alone."""
    whole, some, none = (plan(24 * GIB, gpu_layers=layers) for layers in (33, 11, 0))
    weights = 32 * 120 * MIB + 410 * MIB
    assert host_bytes(whole, EIGHT_B) == 280 * MIB
    assert host_bytes(some, EIGHT_B) == 280 * MIB + 22 * 120 * MIB + some.kv_bytes * 22 // 32
    assert host_bytes(none, EIGHT_B) == 280 * MIB + weights + none.kv_bytes
    tied = dataclasses.replace(EIGHT_B, is_tied=True)
    assert host_bytes(plan(24 * GIB, sizes=tied, gpu_layers=0), tied) == 280 * MIB + 32 * 120 * MIB + none.kv_bytes
    assert host_bytes(plan(24 * GIB, "cpu"), EIGHT_B) == 0  # it is the device there, and counted so


def test_a_cpu_is_bounded_by_its_memory() -> None:
    assert plan(32 * GIB, "cpu").n_parallel == 32
    small = plan(7 * GIB, "cpu")
    assert small.fits
    assert small.n_parallel < 32
    assert small.gpu_layers == 0
    nothing = plan(GIB, "cpu")
    assert not nothing.fits
    assert said(nothing)[-1].endswith("are needed, more than 95% of the 1.0 GiB that were free")


@pytest.mark.parametrize(
    ("wish", "value", "figure"),
    [
        ("n_parallel", 5, "n_parallel"),
        ("context_length", 700, "context_length"),
        ("n_batch", 128, "n_batch"),
        ("gpu_layers", 20, "gpu_layers"),
        ("kv_type", "q4_0", "kv_type"),
        ("kv_type", "f16", "kv_type"),
    ],
)
@pytest.mark.parametrize("free", [24 * GIB, 5 * GIB, GIB])
def test_what_is_set_by_hand_stays_however_little_memory_there_is(
    wish: str, value: Any, figure: str, free: int
) -> None:
    first = plan(free, **{wish: value})
    assert {getattr(one, figure) for one in (first, *steps(first))} == {value}
    for one in (first, *steps(first)):
        assert sum("set by hand" in reason for reason in said(one, **{wish: value})) == 1


@pytest.mark.parametrize(
    ("gpu_layers", "on_gpu"),
    [(0, []), (1, ["output"]), (2, ["output", 3]), (4, ["output", 3, 2, 1]), (5, ["output", 3, 2, 1, 0])],
)
def test_llama_cpp_offloads_the_output_first_and_then_layers_from_the_last(gpu_layers: int, on_gpu: list[Any]) -> None:
    weights: dict[Any, int] = {0: MIB, 1: 2 * MIB, 2: 4 * MIB, 3: 8 * MIB, "output": 16 * MIB}
    sizes = dataclasses.replace(
        EIGHT_B,
        layer_bytes=tuple(weights[layer] for layer in range(4)),
        kv_values=(1024, 2048, 4096, 8192),
        output_bytes=weights["output"],
    )
    found = plan(24 * GIB, sizes=sizes, gpu_layers=gpu_layers)
    assert found.weight_bytes == sum(weights[layer] for layer in on_gpu)
    assert found.kv_share_on_device == sum(sizes.kv_values[layer] for layer in on_gpu if layer != "output") / 15360


def test_a_cpu_holds_embeddings_and_output_unless_they_are_one_matrix() -> None:
    layers = 32 * 120 * MIB
    assert plan(24 * GIB, "cpu").weight_bytes == layers + 410 * MIB + 280 * MIB
    tied = dataclasses.replace(EIGHT_B, is_tied=True)
    assert plan(24 * GIB, "cpu", tied).weight_bytes == layers + 410 * MIB


def test_no_request_is_planned_longer_than_a_prompt_with_its_reply_may_be() -> None:
    by_hand = plan(400 * GIB, context_length=700, request_tokens=5000)
    assert by_hand.kv_bytes == 22_528 * BYTES_OF_A_TOKEN  # 32 × 700, in whole steps of 256
    short = dataclasses.replace(EIGHT_B, context_length=2048)
    assert plan(400 * GIB, sizes=short, request_tokens=5000).kv_bytes == 32 * 2048 * BYTES_OF_A_TOKEN


def test_a_model_without_attention_is_planned_too() -> None:
    sizes = dataclasses.replace(EIGHT_B, kv_values=(0,) * 32, head_values=0, n_head=0)
    found = plan(24 * GIB, sizes=sizes)
    assert (found.kv_bytes, found.kv_share_on_device, found.fits) == (0, 0.0, True)
    assert list(steps(found, sizes))[-1].gpu_layers == 0


@pytest.mark.parametrize(("wishes", "numbers"), [({}, [16, 8, 4, 2, 1]), ({"n_parallel": 8}, [8])])
def test_a_model_without_attention_gets_smaller_in_sequences(wishes: dict[str, int], numbers: list[int]) -> None:
    """Each has a state, which takes memory however long it is."""
    sizes = dataclasses.replace(EIGHT_B, kv_values=(0,) * 32, head_values=0, n_head=0)
    found = list(steps(plan(24 * GIB, "cpu", sizes, **wishes), sizes))
    assert list(dict.fromkeys(one.n_parallel for one in found)) == numbers
    assert [one.n_batch for one in found][-3:] == [256, 128, 64]
    if not wishes:
        assert said(found[0], sizes)[0] == "16 sequences at once: memory ran out with more"


def test_more_layers_than_there_are_means_all() -> None:
    assert plan(24 * GIB, gpu_layers=1000).gpu_layers == 33


def test_heads_that_are_no_whole_blocks_are_not_quantized() -> None:
    odd = dataclasses.replace(EIGHT_B, head_values=80)
    found = plan(GIB, sizes=odd)
    assert {one.kv_type for one in (found, *steps(found, odd))} == {"f16"}
    without_flash = plan(GIB, flash_attention="off")
    assert {one.kv_type for one in (without_flash, *steps(without_flash))} == {"f16"}


@given(free=st.integers(0, 40 * GIB), device=st.sampled_from(["cpu", "cuda"]), group_size=st.integers(1, 256))
def test_each_smaller_plan_is_smaller_and_there_is_a_last_one(free: int, device: str, group_size: int) -> None:
    found = [plan(free, device, group_size=group_size)]
    for one in steps(found[0]):
        assert (one.total_bytes, one.kv_bytes) < (found[-1].total_bytes, found[-1].kv_bytes)
        assert one.context_length * one.kv_bytes_per_token <= one.kv_bytes
        assert one.context_length >= one.request_tokens
        assert set(one.lowered) > set(found[-1].lowered) or one.lowered == found[-1].lowered
        found.append(one)
        assert len(found) < 30
    assert found[-1].gpu_layers == 0
    assert found[-1].n_parallel == 1 or found[-1].kv_bytes_per_token * 1024 * 2 > found[-1].kv_bytes


def test_the_first_step_down_halves_what_is_decoded_at_once() -> None:
    first = plan(24 * GIB)
    second = smaller(first, EIGHT_B, "context")
    assert second is not None
    assert (second.n_parallel, second.kv_bytes) == (16, first.kv_bytes // 2 + 128 * BYTES_OF_A_TOKEN)


def test_weights_that_do_not_fit_leave_the_cache_as_it_is() -> None:
    first = plan(24 * GIB)
    found = list(steps(first, what="weights"))
    assert [one.gpu_layers for one in found] == [16, 8, 4, 2, 1, 0]
    assert {(one.n_parallel, one.kv_bytes, one.kv_type, one.n_batch) for one in found} == {
        (first.n_parallel, first.kv_bytes, first.kv_type, first.n_batch)
    }
    assert [one.weight_bytes for one in found] == [
        plan(24 * GIB, gpu_layers=n).weight_bytes for n in (16, 8, 4, 2, 1, 0)
    ]
    assert not list(steps(plan(24 * GIB, "cpu"), what="weights"))
    assert not list(steps(plan(24 * GIB, gpu_layers=33), what="weights"))


def test_a_smaller_plan_says_anew_whether_it_fits() -> None:
    first = plan(2 * GIB, gpu_layers=16, n_parallel=2, kv_type="f16")
    last = list(steps(plan(2 * GIB)))[-1]
    assert not first.fits
    assert (last.fits, last.total_bytes <= 0.95 * 2 * GIB) == (True, True)
    for one in steps(plan(24 * GIB)):
        assert one.fits


def test_a_plan_comes_back_from_the_store_as_it_was() -> None:
    for found in (plan(10 * GIB, n_parallel=4), *steps(plan(10 * GIB))):
        found = dataclasses.replace(found, longest_request=700)
        record = json.loads(json.dumps(found.record()))
        assert TeacherPlan.from_record(record) == found


def test_a_plan_of_an_earlier_day_comes_back_too() -> None:
    """It had its reasons among its figures and didn't know what was lowered, nor how long its requests are."""
    found = plan(10 * GIB, n_parallel=4)
    record = {**found.record(), "head_values": 128, "reasons": ["4 sequences at once: set by hand"]}
    del record["lowered"], record["longest_request"]
    assert TeacherPlan.from_record(json.loads(json.dumps(record))) == found
    assert said(TeacherPlan.from_record(record), n_parallel=4) == said(found, n_parallel=4)
    more = dataclasses.replace(found, n_parallel=32, n_batch=16, by_hand=("n_batch",))  # today it would be 16
    assert "32 sequences at once: as many as a unit of work has requests" in said(more, n_batch=16)


# --- requests as long as they were measured ---


@pytest.mark.parametrize(("longest", "least"), [(None, 1024), (300, 512), (1500, 1536)])
def test_a_smaller_cache_has_room_for_the_longest_request_as_measured_once_it_is(
    longest: int | None, least: int
) -> None:
    first = dataclasses.replace(plan(24 * GIB), longest_request=longest)
    last = list(steps(first))[-1]
    assert (last.n_cells, last.context_length) == (least, least)


# --- reasons ---


def test_every_figure_has_its_reason() -> None:
    found = plan(7 * GIB)
    text = "\n".join(said(found))
    for figure in (found.gpu_layers, found.n_parallel, found.kv_type, found.context_length, found.n_batch):
        assert str(figure) in text.replace(",", "")
        assert str(figure) in plan_words(found).replace(",", "")
    assert plan_words(plan(40 * GIB, "cpu")).startswith("32 sequences at once")


def test_the_reasons_of_a_plan_with_room_for_all() -> None:
    assert said(plan(24 * GIB)) == [
        "33 of 33 layers on the GPU: all of them fit",
        "32 sequences at once: as many as a unit of work has requests",
        "keys and values in f16: no loss of precision",
        "3.9 GiB of keys and values, for 32,000 tokens of 131,072 bytes: 32 requests of about 1,000 tokens",
        "up to 32,000 tokens for a prompt with its reply: as many as there is room for",
        "512 tokens in a forward pass: llama.cpp's own choice",
        "flash attention where llama.cpp has it for the model: faster, in less memory",
    ]


def test_the_reasons_of_a_plan_that_was_made_smaller() -> None:
    second = smaller(plan(24 * GIB), EIGHT_B, "context")
    assert second is not None
    third = smaller(second, EIGHT_B, "weights")
    assert third is not None
    assert said(third) == [
        "16 of 33 layers on the GPU: memory ran out with more",
        "16 sequences at once: memory ran out with more",
        "keys and values in f16: no loss of precision",
        "2.0 GiB of keys and values, for 16,128 tokens of 131,072 bytes: memory ran out with more",
        "up to 16,128 tokens for a prompt with its reply: as many as there is room for",
        "512 tokens in a forward pass: llama.cpp's own choice",
        "flash attention where llama.cpp has it for the model: faster, in less memory",
    ]
    last = "\n".join(said(list(steps(plan(24 * GIB)))[-1]))
    assert "keys and values in q8_0: memory ran out with 16 bits" in last
    assert "64 tokens in a forward pass: memory ran out with more" in last


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"group_size": 300}, "255 sequences at once: llama.cpp takes no more"),
        ({"group_size": 255}, "255 sequences at once: as many as a unit of work has requests"),
        ({"n_batch": 16}, "16 sequences at once: each takes a token of every forward pass"),
        ({"n_batch": 32}, "32 sequences at once: as many as a unit of work has requests"),
        ({"n_parallel": 5}, "5 sequences at once: set by hand"),
        ({"flash_attention": "off"}, "flash attention off: set by hand"),
        ({"kv_type": "q4_0"}, "flash attention on: quantized keys and values need it"),
        (
            {"group_size": 1, "request_tokens": 300},
            "256 MiB of keys and values, for 2,048 tokens of 131,072 bytes: more than 1 request of about 300 tokens, "
            "should one be longer",
        ),
        (
            {"group_size": 2, "context_length": 8192},
            "1.0 GiB of keys and values, for 8,192 tokens of 131,072 bytes: one request may have all of "
            "teacher.context_length",
        ),
    ],
)
def test_a_reason_names_what_it_was(wishes: dict[str, Any], sentence: str) -> None:
    assert sentence in said(plan(400 * GIB, **wishes), **wishes)


def test_a_model_without_attention_has_no_reasons_for_its_cache() -> None:
    sizes = dataclasses.replace(EIGHT_B, kv_values=(0,) * 32, head_values=0, n_head=0)
    assert "no keys and values: the model has no attention" in said(plan(24 * GIB, sizes=sizes), sizes)


@given(
    free=st.integers(0, 40 * GIB),
    device=st.sampled_from(["cpu", "cuda"]),
    group_size=st.sampled_from([1, 5, 12, 32, 33, 300]),
    wishes=st.fixed_dictionaries(
        {},
        optional={
            "gpu_layers": st.integers(0, 33),
            "n_batch": st.sampled_from([32, 64]),
            "flash_attention": st.sampled_from(["on", "off"]),
            "context_length": st.sampled_from([512, 16384]),
            "kv_type": st.sampled_from(["f16", "q8_0"]),
        },
    ),
)
def test_what_did_not_fit_does_not_fit(free: int, device: str, group_size: int, wishes: dict[str, Any]) -> None:
    """Each such sentence is tried, with all else as in the plan."""
    if wishes.get("flash_attention") == "off":
        wishes.pop("kv_type", None)
    wishes["group_size"] = group_size
    found = plan(free, device, **wishes)
    as_planned = {"kv_type": found.kv_type, "n_parallel": found.n_parallel, "gpu_layers": found.gpu_layers}

    def fits(**changes: Any) -> bool:
        return plan(free, device, **{**wishes, **as_planned, **changes}).fits

    text = "\n".join(said(found, **wishes))
    if more := re.search(r"at once: (\d+) didn't fit", text):
        assert int(more[1]) > found.n_parallel
        assert not fits(n_parallel=int(more[1]))
    if "one more didn't fit" in text:
        assert not fits(gpu_layers=found.gpu_layers + 1)
    if many := re.search(r"in f16 (\d+) sequences? didn't fit(?: beside (\w+) layers)?", text):
        layers = 33 if many[2] == "all" else found.gpu_layers
        assert not fits(kv_type="f16", n_parallel=int(many[1]), gpu_layers=layers)
    if requests := re.search(r"bytes: (\d+) requests? of about ([\d,]+) tokens?(?:, each|$)", text, re.MULTILINE):
        n_tokens = int(requests[1]) * int(requests[2].replace(",", ""))
        rounded = 256 * int(requests[1]) if found.writes_in_streams else 0
        assert 0 <= found.n_cells - n_tokens < 256 + rounded
    assert ("even so" in text) == (not found.fits)
    # Whatever is lowered later, no sentence speaks of a figure that the plan hasn't.
    for one in (found, *steps(found), *steps(found, what="weights")):
        sentences = said(one, **wishes)
        assert sentences[-1].startswith("even so") == (not one.fits)
        assert any(sentence.startswith(f"{one.n_parallel} sequence") for sentence in sentences)
        assert any(sentence.startswith(f"keys and values in {one.kv_type}: ") for sentence in sentences)
        assert any(f"for {one.n_cells:,} tokens of" in sentence for sentence in sentences)
        figures = {"n_parallel": "at once", "kv_bytes": "of keys and values, for", "n_batch": "in a forward pass"}
        for name, figure in figures.items():
            (sentence,) = (sentence for sentence in sentences if figure in sentence)
            assert (name in one.lowered) == sentence.endswith("memory ran out with more")


# --- against the files and llama.cpp itself ---


def assert_kv_bytes_are_llama_cpps(
    path: Path, capfd: pytest.CaptureFixture[str], kv_type: Any, per_token: float
) -> None:
    from llm2llm_local.teacher.llama import LlamaTeacher

    settings = dataclasses.replace(teacher_settings(path, 512), kv_type=kv_type, flash_attention="on")
    teacher = LlamaTeacher(settings)
    teacher.generate(teacher_requests(2, max_tokens=1), quiet)
    teacher.close()
    said = capfd.readouterr().err
    (mebibytes,) = re.findall(r"KV buffer size = +([\d.]+) MiB", said)
    (cells,) = re.findall(r"llama_context: n_ctx += (\d+)", said)
    assert float(mebibytes) == pytest.approx(int(cells) * per_token / MIB, abs=0.01)


@pytest.mark.model
@pytest.mark.parametrize(("kv_type", "bytes_of_a_number"), [("f16", 2), ("q8_0", 34 / 32)])
def test_the_default_models_cache_is_planned_as_llama_cpp_makes_it(
    capfd: pytest.CaptureFixture[str], kv_type: str, bytes_of_a_number: float
) -> None:
    if not DEFAULT_TEACHER.is_file():
        pytest.skip(f"{DEFAULT_TEACHER} is not there; make models puts it there")
    sizes = layer_sizes(read_gguf_header(DEFAULT_TEACHER))
    found = plan(24 * GIB, "cpu", sizes)
    per_token = found.kv_bytes_per_token / 2 * bytes_of_a_number
    assert per_token == 30 * 2 * 3 * 64 * bytes_of_a_number
    assert_kv_bytes_are_llama_cpps(DEFAULT_TEACHER, capfd, kv_type, per_token)


@pytest.mark.model
def test_the_tiny_models_cache_is_planned_as_llama_cpp_makes_it(
    tiny_models: TinyModels, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = layer_sizes(read_gguf_header(tiny_models.teacher))
    found = plan(24 * GIB, "cpu", sizes)
    assert_kv_bytes_are_llama_cpps(tiny_models.teacher, capfd, "f16", found.kv_bytes_per_token)


@pytest.mark.model
def test_layers_and_the_rest_are_all_of_a_files_weights(tiny_models: TinyModels) -> None:
    header = read_gguf_header(tiny_models.teacher)
    sizes = layer_sizes(header)
    weights = sum(tensor.n_bytes for tensor in header.tensors)
    tied = 0 if any(tensor.name == "output.weight" for tensor in header.tensors) else sizes.input_bytes
    assert sum(sizes.layer_bytes) + sizes.input_bytes + sizes.output_bytes - tied == weights
    assert len(set(sizes.layer_bytes)) == 1
    assert sizes.n_layers == len(sizes.layer_bytes) + 1


def test_no_more_sequences_are_planned_than_a_unit_has_requests() -> None:
    found = plan(24 * GIB, n_parallel=64, group_size=8)
    assert found.n_parallel == 8
    assert "8 sequences at once: no more than a unit of work has requests" in said(found, n_parallel=64, group_size=8)


@pytest.mark.parametrize(("device", "by_hand"), [("cpu", ()), ("cuda", ("gpu_layers",))])
def test_layers_on_a_gpu_are_set_by_hand_only_where_there_is_one(device: str, by_hand: tuple[str, ...]) -> None:
    assert plan(24 * GIB, device, gpu_layers=5).by_hand == by_hand
