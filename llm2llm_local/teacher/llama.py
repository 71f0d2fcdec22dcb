"""The teacher in llama.cpp: prompts become tokens, and what the engine makes of them replies and scores.

A group is one unit of the engine: what it says of a group depends on the group and the settings alone. The requests
of a group do affect each other, since batched arithmetic depends on the batch: `Teacher.score` says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import llama_cpp
from jinja2 import TemplateError
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from ..errors import ModelError
from ..records import Reply, TeacherPrompt
from .engine import Engine, Generation, Scoring
from .gguf_model import GgufModel
from .protocol import Progress, ScoreRequest, Scores, TeacherRequest, TeacherSettings
from .sampler import check_grammar

_FIXED_DATE = datetime(2024, 7, 1)
"""What templates that print the date are told, so that a run goes on the same on another day."""


class LlamaTeacher:
    """A GGUF file, loaded. Raises ModelError when llama.cpp can't load it, OutOfMemoryError when it doesn't fit.

    `close` frees what llama.cpp holds; the end of the process does, too.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self._path = settings.model
        self._context_length = settings.context_length
        self._context_is_by_hand = settings.context_is_by_hand
        self._model = GgufModel(settings.model, settings.gpu_layers)
        template = self._model.metadata("tokenizer.chat_template")
        self._chat = self._chat_formatter(template) if template else None
        self._engine = Engine(self._model, settings)

    def close(self) -> None:
        self._engine.close()
        self._model.close()

    def generate(self, group: Sequence[TeacherRequest], progress: Progress) -> list[Reply]:
        generations = [
            Generation(
                tokens=tokens,
                sampling=request.sampling,
                grammar=request.grammar,
                rng_seed=request.rng_seed,
                stop=request.prompt.stop,
                max_tokens=request.max_tokens,
            )
            for request, tokens in zip(group, self._prompts(group), strict=True)
        ]
        replies: list[Reply] = []
        for generation, written in zip(generations, self._engine.generate(generations, progress), strict=True):
            assert written.finish_reason is not None, "a unit ends when all its texts have ended"
            replies.append(
                Reply(
                    text=written.text.decoded(written.finish_reason),
                    finish_reason=written.finish_reason,
                    input_tokens=len(generation.tokens),
                    output_tokens=written.n_tokens,
                    seconds=written.seconds,
                )
            )
        return replies

    def check_prompts(self, group: Sequence[TeacherRequest], progress: Progress) -> int:
        return max(len(tokens) for tokens in self._prompts(group))

    def check_memory(self, progress: Progress) -> None:
        self._engine.check_memory()

    def score(self, group: Sequence[ScoreRequest], progress: Progress) -> list[Scores]:
        scorings: list[Scoring] = []
        read: list[int] = []
        for request in group:
            tokens = self._tokens(request.prompt)
            read.append(len(tokens))
            for text in request.continuations:
                continuation = self._model.tokenize_continuation(text)
                self._check_fits(len(tokens), len(continuation))
                scorings.append(Scoring(tokens, continuation))
                read[-1] += len(continuation)
        values = iter(self._engine.score(scorings, progress))
        return [
            Scores(tuple(next(values) for _ in request.continuations), n_read)
            for request, n_read in zip(group, read, strict=True)
        ]

    def _prompts(self, group: Sequence[TeacherRequest]) -> list[tuple[int, ...]]:
        """The tokens of each prompt; raises when one request can't be answered."""
        for grammar in {request.grammar for request in group if request.grammar}:
            check_grammar(self._model, grammar)
        prompts = [self._tokens(request.prompt) for request in group]
        for request, tokens in zip(group, prompts, strict=True):
            self._check_fits(len(tokens), request.max_tokens)
        return prompts

    def _tokens(self, prompt: TeacherPrompt) -> tuple[int, ...]:
        tokens = self._model.tokenize(self._text(prompt), add_special=not prompt.messages, parse_special=True)
        if not tokens:
            raise ModelError(f"{self._path}: a prompt is empty", "Check the task's instructions and questions.")
        return tokens

    def _check_fits(self, n_prompt: int, n_reply: int) -> None:
        needed = n_prompt + n_reply
        if needed > self._context_length:
            made_for = llama_cpp.llama_model_n_ctx_train(self._model.handle)
            shorter = "lower teacher.max_new_tokens or teacher.demonstrations"
            if needed > made_for:
                limit, remedy = "", f"Take a teacher that was made for more than {made_for} tokens, or {shorter}."
            elif self._context_is_by_hand:
                limit, remedy = "", f"Raise teacher.context_length to {needed} or more, or {shorter}."
            else:
                limit = ", which is what its cache holds"
                remedy = f"Set teacher.context_length = {needed}, if llm2llm doctor finds memory for it, or {shorter}."
            raise ModelError(
                f"{self._path}: a prompt of {n_prompt} tokens and a reply of up to {n_reply} don't fit "
                f"into a context of {self._context_length} tokens{limit}",
                remedy,
            )
        self._engine.check_room(needed)

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
        try:
            formatter = Jinja2ChatFormatter(
                template=template,
                bos_token=self._model.token_text(self._model.first_token),
                eos_token=self._model.token_text(self._model.last_token),
            )
        except TemplateError as error:  # raised while loading, whether or not the template is ever used
            raise ModelError(
                f"{self._path}: its chat template is not valid: {error}", "Take another file of this model."
            ) from None
        formatter.strftime_now = _FIXED_DATE.strftime
        return formatter
