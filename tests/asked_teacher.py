"""A tiny teacher, and what to ask it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fakes import quiet, teacher_settings

from llm2llm_local.records import Message, Reply, TeacherPrompt
from llm2llm_local.teacher.llama import LlamaTeacher
from llm2llm_local.teacher.protocol import Sampling, TeacherRequest

CONTEXT_LENGTH = 512
TEXTS = (
    "question: Where is the library?",
    "The old bridge",
    "Write one new question of the same kind.",
    "Anna has 12 apples and gives 5 of them to Ben.",
    "question: Where is the market?",
)


def load(path: Path, context_length: int = CONTEXT_LENGTH) -> LlamaTeacher:
    return LlamaTeacher(teacher_settings(path, context_length))


def request(
    text: str = TEXTS[0],
    *,
    messages: tuple[Message, ...] = (),
    stop: tuple[str, ...] = (),
    temperature: float = 1.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    grammar: str | None = None,
    rng_seed: int = 1,
    max_tokens: int = 24,
) -> TeacherRequest:
    prompt = TeacherPrompt(messages, "" if messages else text, stop)
    return TeacherRequest(prompt, Sampling(temperature, top_p, min_p), grammar, rng_seed, max_tokens)


def ask(teacher: LlamaTeacher, *requests: TeacherRequest) -> list[Reply]:
    """The replies, without the times."""
    return [dataclasses.replace(reply, seconds=0.0) for reply in teacher.generate(requests, quiet)]


def ask_one(teacher: LlamaTeacher, wanted: TeacherRequest) -> Reply:
    (reply,) = ask(teacher, wanted)
    return reply
