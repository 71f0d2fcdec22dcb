"""The teacher's replies are a function of the group alone, and end where the requests say."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import llama_cpp
import numpy as np
import pytest
from asked_teacher import CONTEXT_LENGTH, TEXTS, ask, ask_one, load, request
from fakes import quiet, teacher_settings
from jinja2.exceptions import SecurityError
from llama_cpp import llama_chat_format
from tiny_models import TinyModels, always_writes, rewrite_gguf
from transformers import AutoTokenizer

from llm2llm_local.errors import ModelError, OutOfMemoryError
from llm2llm_local.records import FinishReason, Message, Reply
from llm2llm_local.teacher import llama_log
from llm2llm_local.teacher.gguf_model import GgufModel
from llm2llm_local.teacher.llama import LlamaTeacher
from llm2llm_local.teacher.protocol import ScoreRequest, TeacherRequest
from llm2llm_local.workers.device import can_offload

pytestmark = pytest.mark.model

CHAT = (Message("system", "You write questions."), Message("user", "Write one about a bridge, please."))


@pytest.fixture(scope="module")
def teacher(tiny_models: TinyModels) -> LlamaTeacher:
    """One teacher for all tests: what it was asked before makes no difference."""
    return load(tiny_models.teacher)


@pytest.fixture(scope="module")
def tokenizer(tiny_models: TinyModels) -> Any:
    """What the teacher's tokens are, said by another library."""
    return AutoTokenizer.from_pretrained(tiny_models.student)


def with_metadata(tiny_models: TinyModels, folder: Path, changes: Mapping[str, Any]) -> Path:
    return rewrite_gguf(tiny_models.teacher, folder / "changed.gguf", changes)


# --- a function of the group alone ---


def test_replies_depend_on_the_group_alone(tiny_models: TinyModels, teacher: LlamaTeacher) -> None:
    """Not on what came before, nor on the process' age; equal requests get equal replies, each in its place."""
    requests = [request(text, rng_seed=number) for number, text in enumerate(TEXTS)]
    requests.append(request(TEXTS[0], rng_seed=9, grammar="root ::= [a-z ]+"))
    requests.append(request(TEXTS[0], temperature=0))
    expected = ask(teacher, *requests)
    assert len({reply.text for reply in expected}) == len(requests)

    ask(teacher, *requests[:3])
    teacher.score([ScoreRequest(requests[1].prompt, (" a", " b"))], quiet)
    assert ask(teacher, *requests) == expected
    assert ask(load(tiny_models.teacher), *requests) == expected
    first, second, third = ask(teacher, requests[2], requests[2], requests[0])
    assert first == second == expected[2]
    assert third.text == expected[0].text


def test_a_group_that_fails_leaves_nothing_behind(teacher: LlamaTeacher) -> None:
    expected = ask(teacher, request(), request(TEXTS[1]))

    def fail(done: int, total: int) -> NoReturn:
        raise ValueError

    with pytest.raises(ValueError):
        teacher.generate([request(TEXTS[2]), request(TEXTS[3])], fail)
    assert ask(teacher, request(), request(TEXTS[1])) == expected


def test_the_rng_seed_makes_the_difference(teacher: LlamaTeacher) -> None:
    replies = ask(teacher, *(request(rng_seed=rng_seed) for rng_seed in range(10)))
    assert len({reply.text for reply in replies}) == 10


@pytest.mark.parametrize("rng_seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
def test_every_rng_seed_of_32_bits_gives_one_reply(teacher: LlamaTeacher, rng_seed: int) -> None:
    """To llama.cpp 2**32 - 1 means: take a random one."""
    replies = ask(teacher, *[request(rng_seed=rng_seed)] * 4)
    assert len(set(replies)) == 1


def test_temperature_0_takes_the_likeliest_token(tiny_models: TinyModels, teacher: LlamaTeacher) -> None:
    model = llama_cpp.Llama(
        str(tiny_models.teacher), n_ctx=CONTEXT_LENGTH, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    for text in TEXTS[:3]:
        tokens = model.tokenize(text.encode(), add_bos=False, special=True)
        written: list[int] = []
        for _ in range(16):
            model.reset()
            model.eval([*tokens, *written])
            written.append(int(np.argmax(model.scores[len(tokens) + len(written) - 1])))
        greedy = [request(text, temperature=0, rng_seed=rng_seed, max_tokens=16) for rng_seed in (1, 2)]
        expected = model.detokenize(written[: written.index(2)] if 2 in written else written).decode(errors="ignore")
        assert [reply.text for reply in ask(teacher, *greedy)] == [expected, expected]


def test_sampling_is_as_asked_for(teacher: LlamaTeacher) -> None:
    """Filters that leave only the likeliest token are greedy; a higher temperature strays further from it."""
    (greedy,) = ask(teacher, request(temperature=0))
    assert ask_one(teacher, request(min_p=1.0)).text == greedy.text
    assert ask_one(teacher, request(top_p=1e-6)).text == greedy.text

    def first_tokens(temperature: float) -> int:
        requests = [request(temperature=temperature, rng_seed=rng_seed, max_tokens=1) for rng_seed in range(200)]
        return len({reply.text for reply in ask(teacher, *requests)})

    assert first_tokens(0.05) < first_tokens(1.0) < first_tokens(5.0)
    assert first_tokens(5.0) > 50  # llama-cpp-python's own default leaves the 40 likeliest


def test_progress_is_told_with_each_pass(teacher: LlamaTeacher) -> None:
    heard: list[tuple[int, int]] = []
    replies = teacher.generate([request(max_tokens=5)] * 2, lambda done, total: heard.append((done, total)))
    assert [reply.output_tokens for reply in replies] == [5, 5]
    assert heard == [(done, 10) for done in (2, 4, 6, 8, 10)]


# --- where a reply ends ---


def test_a_stop_string_cuts_the_reply(teacher: LlamaTeacher) -> None:
    whole = ask_one(teacher, request(temperature=0))
    assert whole.finish_reason is FinishReason.LENGTH
    for start in range(2, len(whole.text) - 3, 3):
        stop = whole.text[start : start + 3]
        cut = ask_one(teacher, request(temperature=0, stop=(stop,)))
        assert cut.text == whole.text[: whole.text.index(stop)]
        assert cut.finish_reason is FinishReason.STOP
        assert cut.output_tokens <= whole.output_tokens


def test_a_stop_string_that_does_not_come_changes_nothing(teacher: LlamaTeacher) -> None:
    assert ask_one(teacher, request(stop=("\u2603",))) == ask_one(teacher, request())


def test_of_two_stop_strings_the_first_in_the_text_counts(tiny_models: TinyModels, tmp_path: Path) -> None:
    """Also when one token brings both."""
    teacher = load(always_writes(tiny_models, tmp_path, "Ġthe"))
    for stop in (("t", "h"), ("h", "t")):
        assert ask_one(teacher, request(temperature=0, stop=stop)).text == " "


def test_max_tokens_bounds_the_reply(teacher: LlamaTeacher) -> None:
    whole = ask_one(teacher, request(temperature=0, max_tokens=20))
    for max_tokens in (1, 7, 20):
        reply = ask_one(teacher, request(temperature=0, max_tokens=max_tokens))
        assert reply.finish_reason is FinishReason.LENGTH
        assert reply.output_tokens == max_tokens
        assert whole.text.startswith(reply.text)


def test_max_tokens_bounds_a_reply_that_is_no_text(tiny_models: TinyModels, tmp_path: Path) -> None:
    """The first byte of a character of four, again and again: llama-cpp-python waits for the other three. The last one
    may be the beginning of a character that the limit has cut.
    """
    teacher = load(always_writes(tiny_models, tmp_path, "ð"))
    reply = ask_one(teacher, request(temperature=0, max_tokens=10))
    assert (reply.text, reply.finish_reason, reply.output_tokens) == ("\ufffd" * 9, FinishReason.LENGTH, 10)


def test_the_end_token_ends_the_reply(tiny_models: TinyModels, tmp_path: Path, tokenizer: Any) -> None:
    teacher = load(always_writes(tiny_models, tmp_path, "<|im_end|>"))
    n_tokens = len(tokenizer(TEXTS[0]).input_ids)
    assert ask_one(teacher, request(TEXTS[0])) == Reply("", FinishReason.STOP, n_tokens, 0, 0.0)


def test_tokens_are_counted(teacher: LlamaTeacher, tokenizer: Any) -> None:
    for text in TEXTS:
        (reply,) = teacher.generate([request(text, grammar="root ::= [a-z]{3}")], quiet)
        assert reply.finish_reason is FinishReason.STOP
        assert reply.input_tokens == len(tokenizer(text).input_ids)
        assert 1 <= reply.output_tokens <= 3  # the end token is none of the reply
        assert reply.seconds > 0
    longest = max(len(tokenizer(text).input_ids) for text in TEXTS)
    assert teacher.check_prompts([request(text) for text in TEXTS], quiet) == longest


# --- the context ---


def test_a_prompt_and_its_reply_must_fit_into_the_context(teacher: LlamaTeacher, tokenizer: Any) -> None:
    n_tokens = len(tokenizer(TEXTS[0]).input_ids)
    fits = request(max_tokens=CONTEXT_LENGTH - n_tokens)
    too_long = request(max_tokens=CONTEXT_LENGTH - n_tokens + 1)
    assert teacher.check_prompts([fits], quiet) == n_tokens
    for call in (teacher.generate, teacher.check_prompts):
        with pytest.raises(ModelError, match=f"a prompt of {n_tokens} tokens and a reply of up to") as caught:
            call([too_long], quiet)
        assert "teacher.context_length" in caught.value.remedy
        assert str(CONTEXT_LENGTH) in caught.value.message


@pytest.mark.parametrize(
    ("context_length", "is_by_hand", "more", "limit", "remedy"),
    [
        (256, True, 1, "256 tokens", "Raise teacher.context_length to 257 or more, or lower teacher.max_new_tokens"),
        (256, False, 1, "256 tokens, which is what its cache holds", "Set teacher.context_length = 257, if llm2llm "),
        (4096, False, 1, "4096 tokens", "Take a teacher that was made for more than 4096 tokens, or lower "),
        (4096, True, 1, "4096 tokens", "Take a teacher that was made for more than 4096 tokens, or lower "),
        (256, True, 4000, "256 tokens", "Take a teacher that was made for more than 4096 tokens, or lower "),
    ],
    ids=["by hand", "memory", "the model", "the model, by hand", "both"],
)
def test_what_is_to_be_done_about_a_short_context_depends_on_what_made_it_short(
    tiny_models: TinyModels, tokenizer: Any, context_length: int, is_by_hand: bool, more: int, limit: str, remedy: str
) -> None:
    settings = teacher_settings(tiny_models.teacher, context_length)
    teacher = LlamaTeacher(dataclasses.replace(settings, context_is_by_hand=is_by_hand))
    too_long = request(max_tokens=context_length - len(tokenizer(TEXTS[0]).input_ids) + more)
    with pytest.raises(ModelError) as caught:
        teacher.check_prompts([too_long], quiet)
    assert caught.value.message.endswith(limit)
    assert caught.value.remedy.startswith(remedy)


def test_a_reply_may_fill_the_context(tiny_models: TinyModels, tmp_path: Path, tokenizer: Any) -> None:
    teacher = load(always_writes(tiny_models, tmp_path, "a"), context_length=256)
    n_tokens = len(tokenizer(TEXTS[0]).input_ids)
    reply = ask_one(teacher, request(temperature=0, max_tokens=256 - n_tokens))
    assert (reply.finish_reason, reply.output_tokens) == (FinishReason.LENGTH, 256 - n_tokens)


# --- chat ---


def test_messages_are_put_into_the_files_own_template(teacher: LlamaTeacher, tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in CHAT],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text.startswith("<|im_start|>system\nYou write questions.<|im_end|>")
    chat, same = ask(teacher, request(messages=CHAT), request(text))
    assert chat == same
    assert chat.input_tokens == len(tokenizer(text).input_ids)
    assert chat.text != ask_one(teacher, request(CHAT[1].content)).text


def test_another_template_gives_another_prompt(tiny_models: TinyModels, tmp_path: Path, teacher: LlamaTeacher) -> None:
    template = "{{ bos_token }}{% for message in messages %}[{{ message.content }}]{{ eos_token }}{% endfor %}"
    other = load(with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": template}))
    rendered = f"<|im_start|>[{CHAT[0].content}]<|im_end|>[{CHAT[1].content}]<|im_end|>"
    assert ask_one(other, request(messages=CHAT)) == ask_one(teacher, request(rendered))


def test_messages_without_a_template_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    teacher = load(with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": None}))
    for call in (teacher.generate, teacher.check_prompts):
        with pytest.raises(ModelError, match="has no chat template") as caught:
            call([request(messages=CHAT)], quiet)
        assert "teacher.prompt_style" in caught.value.remedy
    assert ask_one(teacher, request()).output_tokens > 0


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('/etc/passwd').read() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append(messages) }}",
    ],
)
def test_a_template_that_reaches_out_is_stopped(tiny_models: TinyModels, tmp_path: Path, template: str) -> None:
    teacher = load(with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": template}))
    with pytest.raises((SecurityError, ModelError), match=r"unsafe|not safe"):
        teacher.generate([request(messages=CHAT)], quiet)


@pytest.mark.parametrize("template", ["{{ raise_exception('no system role') }}", "{{ messages[9].content }}"])
def test_a_template_that_refuses_the_messages_is_an_error(
    tiny_models: TinyModels, tmp_path: Path, template: str
) -> None:
    teacher = load(with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": template}))
    for call in (teacher.generate, teacher.check_prompts):
        with pytest.raises(ModelError, match="chat template"):
            call([request(messages=CHAT)], quiet)


def test_a_template_that_is_no_template_is_an_error(tiny_models: TinyModels, tmp_path: Path) -> None:
    path = with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": "{% for message in %}"})
    with pytest.raises(ModelError, match="chat template"):
        load(path)


def test_the_date_is_not_part_of_a_prompt(
    tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some templates (Llama 3.2's) put it there; a run resumed on the next day would get other replies."""
    template = "{{ strftime_now('%d %b %Y') if strftime_now is defined }}{{ messages[0].content }}"
    teacher = load(with_metadata(tiny_models, tmp_path, {"tokenizer.chat_template": template}))
    replies = []
    for day in (datetime(2025, 1, 1), datetime(2026, 12, 31)):
        monkeypatch.setattr(llama_chat_format, "datetime", clock_at(day))
        replies.append(ask_one(teacher, request(messages=CHAT)))
    assert replies[0] == replies[1]


def clock_at(day: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return day

    return Clock


@pytest.mark.parametrize("has_template", [True, False])
def test_a_text_to_continue_begins_as_the_file_says(
    tiny_models: TinyModels, tmp_path: Path, tokenizer: Any, has_template: bool
) -> None:
    """With the token that texts of this model begin with, whether or not the file could chat, too."""
    changes: dict[str, Any] = {"tokenizer.ggml.add_bos_token": True}
    if not has_template:
        changes["tokenizer.chat_template"] = None
    teacher = load(with_metadata(tiny_models, tmp_path, changes))
    assert ask_one(teacher, request()).input_tokens == 1 + len(tokenizer(TEXTS[0]).input_ids)


def test_a_chat_begins_once(tiny_models: TinyModels, tmp_path: Path, teacher: LlamaTeacher) -> None:
    """The template writes the first token itself."""
    other = load(with_metadata(tiny_models, tmp_path, {"tokenizer.ggml.add_bos_token": True}))
    assert ask_one(other, request(messages=CHAT)) == ask_one(teacher, request(messages=CHAT))


# --- files that can't be used ---


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_named(tiny_models: TinyModels, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.gguf"
    whole = tiny_models.teacher.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.gguf"):
        load(tmp_path / "nothing.gguf")


def test_layers_for_a_gpu_need_a_llama_cpp_that_knows_it(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may have a GPU that llama.cpp wasn't built for: it would load everything into the other memory."""
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: False)
    with pytest.raises(ModelError, match="was built without CUDA") as caught:
        GgufModel(tiny_models.teacher, 1)
    assert caught.value.remedy == 'Build it with make setup CUDA=1, or set hardware.device = "cpu".'
    GgufModel(tiny_models.teacher, 0).close()


@pytest.mark.parametrize(("gpu_layers", "is_alone"), [(0, False), (-1, True)])
def test_without_layers_on_a_gpu_llama_cpp_is_given_none(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch, gpu_layers: int, is_alone: bool
) -> None:
    """A build for CUDA would take some memory of each, and compute there with weights of the machine's memory."""
    seen: list[Any] = []

    def look(name: str) -> None:
        real = getattr(llama_cpp, name)

        def call(first: Any, parameters: Any) -> Any:
            seen.append(parameters)
            return real(first, parameters)

        monkeypatch.setattr(llama_cpp, name, call)

    look("llama_model_load_from_file")
    look("llama_init_from_model")
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    settings = dataclasses.replace(teacher_settings(tiny_models.teacher, CONTEXT_LENGTH), gpu_layers=gpu_layers)
    assert ask_one(LlamaTeacher(settings), request(temperature=0.0)).output_tokens
    of_model, of_context = seen
    assert (of_context.op_offload, of_context.offload_kqv) == (is_alone, is_alone)
    if is_alone:
        assert of_model.devices is None  # all that there are, of which main_gpu is taken
    else:
        assert ctypes.c_void_p.from_address(of_model.devices).value is None  # the list's end is its first


def test_what_llama_cpp_says_of_gpus_is_asked_without_importing_it() -> None:
    assert can_offload() == llama_cpp.llama_supports_gpu_offload()


@pytest.mark.parametrize(("gpu_layers", "advises_fewer"), [(0, False), (-1, True)])
def test_weights_without_memory_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_layers: int, advises_fewer: bool
) -> None:
    """Fewer layers on the GPU help where there are some."""

    def load_model(path: bytes, parameters: Any) -> None:
        llama_log._errors.append("unable to allocate CPU buffer")

    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", load_model)
    with pytest.raises(OutOfMemoryError, match="unable to allocate CPU buffer") as caught:
        GgufModel(tmp_path / "large.gguf", gpu_layers)
    assert caught.value.what == "weights"
    assert ("teacher.gpu_layers" in caught.value.remedy) == advises_fewer


def test_a_group_is_refused_as_a_whole(teacher: LlamaTeacher) -> None:
    """One request that can't be answered: an error, not fewer replies."""
    group: Sequence[TeacherRequest] = [request(), request(max_tokens=CONTEXT_LENGTH), request()]
    with pytest.raises(ModelError):
        teacher.generate(group, quiet)
