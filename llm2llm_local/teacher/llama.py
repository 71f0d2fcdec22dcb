"""The teacher in llama.cpp, through llama-cpp-python.

Each request is evaluated from an empty KV cache with a sampler of its own, so its reply is a function of
the request alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import llama_cpp
from jinja2 import TemplateError
from llama_cpp import Llama, LlamaGrammar
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from ..errors import ModelError
from ..records import FinishReason, Reply, TeacherPrompt
from .llama_log import collected_errors
from .protocol import Progress, TeacherRequest, TeacherSettings

_RANDOM_SEED = 2**32 - 1
"""The one 32-bit number that llama.cpp takes for "draw a seed yourself"; all below it are seeds."""

_FIXED_DATE = datetime(2024, 7, 1)
"""What templates that print the date are told, so that a run goes on the same on another day."""


class LlamaTeacher:
    """A GGUF file, loaded. Raises ModelError when llama.cpp can't load it."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._path = settings.model
        self._context_length = settings.context_length
        with collected_errors() as errors:
            try:
                self._llama = Llama(
                    model_path=str(settings.model),
                    n_ctx=settings.context_length,
                    n_batch=512,
                    n_threads=settings.threads,
                    n_threads_batch=settings.threads,
                    n_gpu_layers=settings.gpu_layers,
                    split_mode=llama_cpp.LLAMA_SPLIT_MODE_NONE,  # one GPU, the one that the memory plan measured
                    main_gpu=0,
                    verbose=True,
                )
            except TemplateError as error:  # raised while loading, whether or not the template is ever used
                raise ModelError(
                    f"{settings.model}: its chat template is not valid: {error}", "Take another file of this model."
                ) from None
            except ValueError as error:
                raise ModelError(
                    f"{settings.model}: llama.cpp can't load it: {errors[0] if errors else error}",
                    "An architecture that this llama.cpp doesn't know is the usual reason; see llm2llm models.",
                ) from None
        self._llama.verbose = False
        template = self._llama.metadata.get("tokenizer.chat_template")
        self._chat = self._chat_formatter(template) if template else None

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        replies: list[Reply] = []
        total = sum(request.max_tokens for request in group)

        def progress_from(tokens: int) -> Callable[[int], None]:
            return lambda written: progress(tokens + written, total)

        tokens = 0
        for request in group:
            replies.append(self._answer(request, progress_from(tokens)))
            tokens += request.max_tokens
            progress(tokens, total)
        return replies

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return max(len(self._tokens(request)) for request in group)

    def _answer(self, request: TeacherRequest, progress: Callable[[int], None]) -> Reply:
        started = time.monotonic()
        tokens = self._tokens(request)
        self._llama.reset()
        self._llama.set_seed(request.rng_seed % _RANDOM_SEED)
        stops = [stop.encode() for stop in request.prompt.stop]
        written: list[int] = []
        text, finish_reason = b"", FinishReason.LENGTH
        for token in self._llama.generate(
            tokens,
            temp=request.sampling.temperature,
            top_p=request.sampling.top_p,
            min_p=request.sampling.min_p,
            top_k=0,  # off: only the configured filters apply
            repeat_penalty=1.0,
            grammar=LlamaGrammar.from_string(request.grammar, verbose=False) if request.grammar else None,
        ):
            if llama_cpp.llama_vocab_is_eog(self._llama._model.vocab, token):
                finish_reason = FinishReason.STOP
                break
            written.append(token)
            text = self._llama.detokenize(written, prev_tokens=tokens)
            cuts = [text.index(stop) for stop in stops if stop in text]
            if cuts:
                text, finish_reason = text[: min(cuts)], FinishReason.STOP
                break
            if len(written) == request.max_tokens:
                break
            progress(len(written))
        return Reply(
            text=text.decode(errors="ignore"),  # the token limit may cut a character in two
            finish_reason=finish_reason,
            input_tokens=len(tokens),
            output_tokens=len(written),
            seconds=time.monotonic() - started,
        )

    def _tokens(self, request: TeacherRequest) -> list[int]:
        if request.grammar:
            self._check_grammar(request.grammar)
        tokens: list[int] = self._llama.tokenize(
            self._text(request.prompt).encode(), add_bos=not request.prompt.messages, special=True
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
        try:
            return str(self._chat(messages=messages).prompt)
        except (TemplateError, ValueError, TypeError) as error:
            raise ModelError(
                f"{self._path}: its chat template can't render the prompt: {error}",
                'Set teacher.prompt_style = "completion".',
            ) from None

    def _chat_formatter(self, template: str) -> Jinja2ChatFormatter:
        """The file's own chat template, rendered in Jinja's sandbox."""

        def token_text(token: int) -> str:
            return self._llama._model.token_get_text(token) if token != -1 else ""

        formatter = Jinja2ChatFormatter(
            template=template,
            bos_token=token_text(self._llama.token_bos()),
            eos_token=token_text(self._llama.token_eos()),
        )
        formatter.strftime_now = _FIXED_DATE.strftime
        return formatter

    def _check_grammar(self, grammar: str) -> None:
        """Adding an invalid grammar to a sampler chain would crash the process, so it is tried alone first."""
        repetitions = re.findall(r"\{(\d+),(\d+)\}", grammar)
        if any(int(most) < int(least) for least, most in repetitions):  # llama.cpp would fill all memory
            raise ModelError("teacher.grammar: a repetition {m,n} has n below m", "Correct the grammar file.")
        with collected_errors() as errors:
            sampler = llama_cpp.llama_sampler_init_grammar(self._llama._model.vocab, grammar.encode(), b"root")
        if not sampler:
            reason = errors[0] if errors else "it must be GBNF with a rule named root"
            raise ModelError(f"teacher.grammar: llama.cpp can't read it: {reason}", "Correct the grammar file.")
        llama_cpp.llama_sampler_free(sampler)
