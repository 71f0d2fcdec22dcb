"""The teacher in llama.cpp, through llama-cpp-python.

Each request is evaluated from an empty KV cache with a sampler of its own, so its reply is a function of
the request alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import llama_cpp
from llama_cpp import Llama, LlamaGrammar
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from ..errors import ModelError
from ..records import FinishReason, Reply, TeacherPrompt
from .protocol import Progress, TeacherRequest, TeacherSettings


class LlamaTeacher:
    """A GGUF file, loaded. Raises ModelError when llama.cpp can't load it."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._path = settings.model
        self._context_length = settings.context_length
        try:
            # Loading talks to the worker's log: it is where llama.cpp says why a file can't be used.
            self._llama = Llama(
                model_path=str(settings.model),
                n_ctx=settings.context_length,
                n_batch=512,
                n_threads=settings.threads,
                n_threads_batch=settings.threads,
                n_gpu_layers=settings.gpu_layers,
                verbose=True,
            )
        except ValueError as error:
            raise ModelError(
                f"{settings.model}: llama.cpp can't load it: {error}",
                "The reason is in teacher.log; an architecture newer than this llama.cpp is the usual one.",
            ) from None
        self._llama.verbose = False
        template = self._llama.metadata.get("tokenizer.chat_template")
        self._chat = self._chat_formatter(template) if template else None

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        replies = []
        for request in group:
            replies.append(self._answer(request))
            progress(len(replies), len(group))
        return replies

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return max(len(self._tokens(request)) for request in group)

    def _answer(self, request: TeacherRequest) -> Reply:
        started = time.monotonic()
        tokens = self._tokens(request)
        self._llama.reset()
        completion: Any = self._llama.create_completion(
            prompt=tokens,
            max_tokens=request.max_tokens,
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            min_p=request.sampling.min_p,
            top_k=0,  # off: only the configured filters apply
            repeat_penalty=1.0,
            seed=request.rng_seed,
            stop=list(request.prompt.stop),
            grammar=LlamaGrammar.from_string(request.grammar, verbose=False) if request.grammar else None,
        )
        choice, usage = completion["choices"][0], completion["usage"]
        return Reply(
            text=choice["text"],
            finish_reason=FinishReason(choice["finish_reason"]),
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            seconds=time.monotonic() - started,
        )

    def _tokens(self, request: TeacherRequest) -> list[int]:
        if request.grammar:
            self._check_grammar(request.grammar)
        tokens: list[int] = self._llama.tokenize(
            self._text(request.prompt).encode(), add_bos=self._chat is None, special=True
        )
        if len(tokens) + request.max_tokens > self._context_length:
            raise ModelError(
                f"{self._path}: a prompt of {len(tokens)} tokens and a reply of up to {request.max_tokens} don't fit "
                f"into a context of {self._context_length} tokens",
                "Raise teacher.context_length, or lower teacher.max_new_tokens or teacher.demonstrations.",
            )
        return tokens

    def _text(self, prompt: TeacherPrompt) -> str:
        if not prompt.messages:
            return prompt.completion
        if self._chat is None:
            raise ModelError(f"{self._path}: has no chat template", 'Set teacher.prompt_style = "completion".')
        messages: Any = [{"role": message.role, "content": message.content} for message in prompt.messages]
        return str(self._chat(messages=messages).prompt)

    def _chat_formatter(self, template: str) -> Jinja2ChatFormatter:
        """The file's own chat template, rendered in Jinja's sandbox."""

        def token_text(token: int) -> str:
            return self._llama._model.token_get_text(token) if token != -1 else ""

        return Jinja2ChatFormatter(
            template=template,
            bos_token=token_text(self._llama.token_bos()),
            eos_token=token_text(self._llama.token_eos()),
        )

    def _check_grammar(self, grammar: str) -> None:
        """Adding an invalid grammar to a sampler chain would crash the process, so it is tried alone first."""
        sampler = llama_cpp.llama_sampler_init_grammar(self._llama._model.vocab, grammar.encode(), b"root")
        if not sampler:
            raise ModelError(
                "teacher.grammar: llama.cpp can't read the grammar",
                "It must be GBNF with a rule named root; see teacher.log.",
            )
        llama_cpp.llama_sampler_free(sampler)
