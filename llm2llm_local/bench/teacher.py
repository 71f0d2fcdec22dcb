"""The teacher's batching engine against one request at a time, and against a bare loop over llama.cpp's batches.

All contenders write for the same chat prompts: a system text that all share, and a question of each. Tokens are drawn
as a run draws them whose configuration says nothing of it. The prompts ask for far more text than may be written, so
that replies end at the limit (with the default model: all of them); what was really written is counted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import TeacherConfig
from ..errors import ModelError, UserInputError
from ..prefixes import shared_length
from ..records import Message, TeacherPrompt
from ..teacher.protocol import Sampling, TeacherRequest, TeacherSettings
from .plan import Comparison, Contender, Repeat, Series

_DEFAULTS = TeacherConfig(model=Path())
_N_BATCH = 512
_CONTEXT_LENGTH = 2048
_TOKENS_PER_WORD = 1.25
"""Of the prompts, with what the chat's template adds."""
_MOST_PARALLEL = 255
"""As in the configuration: llama.cpp has 256 sequences, one of which is for what others share."""
_WORDS = (
    "river library market bridge doctor letter garden winter engine captain village mirror paper window island farmer "
    "teacher planet copper silver morning ticket harbour painter summer castle forest railway lantern orchard"
)
_GROWTH = (8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class TeacherCase:
    """`gpu_layers` as in TeacherSettings; prompts are counted in words, about 1.2 tokens each, beside the chat's own.

    `n_parallel`: most requests at once, of those that can be. Raises UserInputError for sizes that can't be had.
    """

    model: Path
    threads: int
    gpu_layers: int
    n_requests: int = 32
    n_parallel: int = 32
    prefix_words: int = 160
    suffix_words: int = 18
    new_tokens: int = 48
    rng_seed: int = 1
    temperature: float = _DEFAULTS.temperature
    top_p: float = _DEFAULTS.top_p
    min_p: float = _DEFAULTS.min_p

    def __post_init__(self) -> None:
        if self.n_parallel > _MOST_PARALLEL:
            raise UserInputError(f"--size n_parallel={self.n_parallel}: {_MOST_PARALLEL} is the most at once")
        for name, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if value > 1:
                raise UserInputError(f"--size {name}={value:g}: a probability is 1 at most")
        n_tokens = round(_TOKENS_PER_WORD * (self.prefix_words + self.suffix_words)) + self.new_tokens
        if n_tokens > _CONTEXT_LENGTH:
            raise UserInputError(
                f"--size: prefix_words = {self.prefix_words}, suffix_words = {self.suffix_words} and new_tokens = "
                f"{self.new_tokens} make a text of about {n_tokens} tokens; it can have {_CONTEXT_LENGTH}",
                "Make one of them smaller.",
            )

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.min_p)


def parts(model: Path, threads: int, gpu_layers: int) -> list[Comparison | Series]:
    case = TeacherCase(model, threads, gpu_layers)
    ours = Contender("batched", batched)
    return [
        Comparison(
            title="teacher: requests that share a prefix",
            case=case,
            contenders=(ours, Contender("one_at_a_time", one_at_a_time), Contender("bare_loop", bare_loop)),
            measure="tokens",
            note="one_at_a_time: llama-cpp-python's create_chat_completion, which draws from the 40 likeliest alone. "
            "bare_loop: llama.cpp's batches and its own samplers, without tokenization, texts, stop strings, refilling "
            "or a plan. The ratio to it is what these cost, and what our way of drawing the same tokens saves.",
        ),
        Series(
            Comparison("teacher: time by requests", case, (ours,), measure="requests", repeats=3),
            size="n_requests",
            sizes=_GROWTH,
        ),
    ]


def batched(case: TeacherCase) -> Repeat:
    """The engine of the product, all in all: templates, tokens, schedule, texts."""
    from ..teacher.llama import LlamaTeacher

    teacher = LlamaTeacher(
        TeacherSettings(
            model=case.model,
            context_length=_CONTEXT_LENGTH,
            threads=case.threads,
            gpu_layers=case.gpu_layers,
            n_parallel=case.n_parallel,
            n_batch=_N_BATCH,
            kv_bytes=8 * 2**30,
            kv_type="f16",
            flash_attention="auto" if case.gpu_layers else "off",  # as it is planned where there is memory
        )
    )
    requests = [
        TeacherRequest(TeacherPrompt(chat, "", ()), case.sampling, None, number, case.new_tokens)
        for number, chat in enumerate(_chats(case))
    ]

    def repeat() -> Mapping[str, float]:
        replies = teacher.generate(requests, lambda done, total: None)
        return {"requests": len(replies), "tokens": sum(reply.output_tokens for reply in replies)}

    return repeat


def one_at_a_time(case: TeacherCase) -> Repeat:
    """llama-cpp-python's own interface, which reads again only what a prompt does not share with the one before.

    Its top-k of 40 is left as it is: it draws faster with it.
    """
    from llama_cpp import Llama

    llama = Llama(
        str(case.model),
        n_ctx=_CONTEXT_LENGTH,
        n_batch=_N_BATCH,
        n_threads=case.threads,
        n_threads_batch=case.threads,
        n_gpu_layers=case.gpu_layers,
        flash_attn=case.gpu_layers != 0,  # on a CPU its default, which was faster when measured (104 tokens/s to 69)
        verbose=False,
    )
    chats = [[{"role": one.role, "content": one.content} for one in chat] for chat in _chats(case)]

    def repeat() -> Mapping[str, float]:
        n_tokens = 0
        for number, chat in enumerate(chats):
            answer: Any = llama.create_chat_completion(
                messages=chat,
                temperature=case.temperature,
                top_p=case.top_p,
                min_p=case.min_p,
                seed=number,
                max_tokens=case.new_tokens,
            )
            n_tokens += answer["usage"]["completion_tokens"]
        return {"requests": len(chats), "tokens": n_tokens}

    return repeat


def bare_loop(case: TeacherCase) -> Repeat:
    """The prefix, the rest of each prompt, then a pass for each token: nothing but llama.cpp's functions.

    Raises ModelError when llama.cpp can't make its context.
    """
    import llama_cpp
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    from ..teacher.gguf_model import GgufModel

    model = GgufModel(case.model, case.gpu_layers)
    template = Jinja2ChatFormatter(
        template=model.metadata("tokenizer.chat_template") or "",
        bos_token=model.token_text(model.first_token),
        eos_token=model.token_text(model.last_token),
    )
    prompts = []
    for chat in _chats(case):
        messages: Any = [{"role": one.role, "content": one.content} for one in chat]
        prompts.append(model.tokenize(template(messages=messages).prompt, add_special=False, parse_special=True))
    n_shared = min(shared_length(prompts[0], prompt) for prompt in prompts[1:]) if len(prompts) > 1 else 0
    rounds = [prompts[start : start + case.n_parallel] for start in range(0, len(prompts), case.n_parallel)]
    parameters = llama_cpp.llama_context_default_params()
    if case.gpu_layers:
        n_cells = n_shared + max(sum(len(one) - n_shared + case.new_tokens for one in batch) for batch in rounds)
        parameters.kv_unified = True
    else:  # what is fastest there: see Engine
        n_cells = len(rounds[0]) * (max(map(len, prompts)) + case.new_tokens)
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.n_ctx = n_cells  # rounded up by llama.cpp
    parameters.n_batch = parameters.n_ubatch = _N_BATCH
    parameters.n_seq_max = len(rounds[0])
    parameters.n_threads = parameters.n_threads_batch = case.threads
    parameters.no_perf = True
    context = llama_cpp.llama_init_from_model(model.handle, parameters)
    if context is None:
        raise ModelError(
            f"{case.model}: llama.cpp can't make a context of {n_cells} tokens for {len(rounds[0])} at once",
            "Lower --size n_parallel, or free memory.",
        )
    memory = llama_cpp.llama_get_memory(context)
    batch = llama_cpp.llama_batch_init(_N_BATCH, 0, 1)

    def decode(rows: Sequence[tuple[int, int, int, bool]]) -> None:
        for index, (token, position, sequence, has_output) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = has_output
        batch.n_tokens = len(rows)
        if llama_cpp.llama_decode(context, batch):
            raise RuntimeError("llama.cpp could not decode")

    def write(prompts: Sequence[Sequence[int]]) -> None:
        llama_cpp.llama_memory_clear(memory, True)
        chains = [_chain(case.sampling, number) for number in range(len(prompts))]
        prefix = [(token, position, 0, False) for position, token in enumerate(prompts[0][:n_shared])]
        for start in range(0, n_shared, _N_BATCH):
            decode(prefix[start : start + _N_BATCH])
        for sequence in range(1, len(prompts)):
            llama_cpp.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        rows = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
            if position >= n_shared
        ]
        tokens = [0] * len(prompts)
        for start in range(0, len(rows), _N_BATCH):
            chunk = rows[start : start + _N_BATCH]
            decode(chunk)
            for index, (_, _, sequence, has_output) in enumerate(chunk):
                if has_output:
                    tokens[sequence] = llama_cpp.llama_sampler_sample(chains[sequence], context, index)
        for step in range(case.new_tokens - 1):
            decode([(tokens[number], len(prompt) + step, number, True) for number, prompt in enumerate(prompts)])
            for number, chain in enumerate(chains):
                tokens[number] = llama_cpp.llama_sampler_sample(chain, context, number)
        for chain in chains:
            llama_cpp.llama_sampler_free(chain)

    def repeat() -> Mapping[str, float]:
        for one in rounds:
            write(one)
        return {"requests": len(prompts), "tokens": len(prompts) * case.new_tokens}

    return repeat


def _chain(sampling: Sampling, rng_seed: int) -> Any:
    """min-p first, as llama.cpp's own chat example has it: it leaves little for the others."""
    import llama_cpp

    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if sampling.min_p > 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    if sampling.top_p < 1:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(rng_seed))
    return chain


def _chats(case: TeacherCase) -> list[tuple[Message, ...]]:
    rng, words = random.Random(case.rng_seed), _WORDS.split()
    system = "You are a novelist who writes very long stories of many chapters. These words are to come up in them: "
    system += " ".join(rng.choices(words, k=max(1, case.prefix_words - 20)))
    return [
        (
            Message("system", system),
            Message(
                "user", "Write a very long story about " + " ".join(rng.choices(words, k=max(1, case.suffix_words - 6)))
            ),
        )
        for _ in range(case.n_requests)
    ]
