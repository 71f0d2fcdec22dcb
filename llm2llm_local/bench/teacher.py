"""The teacher's batching engine against one request at a time, and against what llama.cpp can do at most.

All contenders write for the same chat prompts: a system text that all share, and a question of each. The prompts ask
for far more text than may be written, so that replies end at the limit (with the default model: all of them); what
was really written is counted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..prefixes import shared_length
from ..records import Message, TeacherPrompt
from ..teacher.protocol import Sampling, TeacherRequest, TeacherSettings
from .plan import Comparison, Contender, Repeat, Series

_SAMPLING = Sampling(temperature=0.7, top_p=0.95, min_p=0.05)
_N_BATCH = 512
_CONTEXT_LENGTH = 2048
_WORDS = (
    "river library market bridge doctor letter garden winter engine captain village mirror paper window island farmer "
    "teacher planet copper silver morning ticket harbour painter summer castle forest railway lantern orchard"
)
_GROWTH = (8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class TeacherCase:
    """`gpu_layers` as in TeacherSettings; prompts are counted in words, about 1.2 tokens each, beside the chat's own.

    `n_parallel`: most requests at once, of those that can be.
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


def parts(model: Path, threads: int, gpu_layers: int) -> list[Comparison | Series]:
    case = TeacherCase(model, threads, gpu_layers)
    ours = Contender("batched", batched)
    return [
        Comparison(
            title="teacher: requests that share a prefix",
            case=case,
            contenders=(ours, Contender("one_at_a_time", one_at_a_time), Contender("bare_loop", bare_loop)),
            measure="tokens",
            note="one_at_a_time: llama-cpp-python's create_chat_completion. bare_loop: llama.cpp's batches without "
            "tokenization, texts, stop strings, refilling or a plan; the ratio to it is what these cost.",
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
        TeacherRequest(TeacherPrompt(chat, "", ()), _SAMPLING, None, number, case.new_tokens)
        for number, chat in enumerate(_chats(case))
    ]

    def repeat() -> Mapping[str, float]:
        replies = teacher.generate(requests, lambda done, total: None)
        return {"requests": len(replies), "tokens": sum(reply.output_tokens for reply in replies)}

    return repeat


def one_at_a_time(case: TeacherCase) -> Repeat:
    """llama-cpp-python's own interface, which reads again only what a prompt does not share with the one before."""
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
                temperature=_SAMPLING.temperature,
                top_p=_SAMPLING.top_p,
                min_p=_SAMPLING.min_p,
                seed=number,
                max_tokens=case.new_tokens,
            )
            n_tokens += answer["usage"]["completion_tokens"]
        return {"requests": len(chats), "tokens": n_tokens}

    return repeat


def bare_loop(case: TeacherCase) -> Repeat:
    """The prefix, the rest of each prompt, then a pass for each token: nothing but llama.cpp's functions."""
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
        n_cells = case.n_parallel * (max(map(len, prompts)) + case.new_tokens)
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.n_ctx = n_cells  # rounded up by llama.cpp
    parameters.n_batch = parameters.n_ubatch = _N_BATCH
    parameters.n_seq_max = case.n_parallel
    parameters.n_threads = parameters.n_threads_batch = case.threads
    parameters.no_perf = True
    context = llama_cpp.llama_init_from_model(model.handle, parameters)
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
        chains = [_chain(number) for number in range(len(prompts))]
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


def _chain(rng_seed: int) -> Any:
    import llama_cpp

    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in (
        llama_cpp.llama_sampler_init_min_p(_SAMPLING.min_p, 1),
        llama_cpp.llama_sampler_init_top_p(_SAMPLING.top_p, 1),
        llama_cpp.llama_sampler_init_temp(_SAMPLING.temperature),
        llama_cpp.llama_sampler_init_dist(rng_seed),
    ):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
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
