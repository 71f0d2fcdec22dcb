"""Where an example came from: each step back to the seed, with the prompt and the model's hash."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import StoreError
from .plain import plain
from .votes import FREED, vote_text, votes_on


def lineage_of(connection: sqlite3.Connection, example_id: int) -> list[dict[str, Any]]:
    """The example and its ancestors, the seed last: records of those columns that aren't NULL.

    Each has its `verdicts`, `votes` as lines, and `trained_iterations`; an augmented one has the teacher's call and the
    answer of the student that the call was about.

    Raises StoreError when there is no such example.
    """
    chain: list[dict[str, Any]] = []
    wanted: int | None = example_id
    while wanted is not None:
        row = connection.execute(
            "SELECT id AS example_id, run_id, key, split, origin, question, answer, source, line, candidate_id, "
            "parent_example_id, review_id, removed_iteration FROM examples WHERE id = ?",
            [wanted],
        ).fetchone()
        if row is None:
            raise StoreError(
                f"there is no example {example_id}", "Find one: llm2llm query 'SELECT id, question FROM examples'"
            )
        making = connection.execute(
            "SELECT l.teacher_call_id, l.failed_iteration, l.predicted_answer, l.first_trained_iteration, t.attempt, "
            "t.prompt, t.sampling, t.rng_seed, t.output_text, t.finish_reason, m.name AS model_name, "
            "m.sha256 AS model_sha256 FROM lineage l JOIN teacher_calls t ON t.id = l.teacher_call_id "
            "JOIN models m ON m.id = t.model_id WHERE l.example_id = ?",
            [wanted],
        ).fetchone()
        known = {**dict(row), **(dict(making) if making else {})}
        record = {key: value for key, value in known.items() if value is not None}
        record["verdicts"] = [
            dict(verdict)
            for verdict in connection.execute(
                "SELECT check_name, verdict, reason, detail, score FROM verdicts WHERE candidate_id = ? ORDER BY id",
                [row["candidate_id"]],
            )
        ]
        record["votes"] = [vote_text(vote) for vote in votes_on(connection, row["candidate_id"])]
        record["trained_iterations"] = [
            trained[0]
            for trained in connection.execute(
                "SELECT iteration FROM training_set_examples WHERE example_id = ? ORDER BY iteration", [wanted]
            )
        ]
        chain.append(record)
        wanted = row["parent_example_id"]
    return chain


def lineage_lines(chain: list[dict[str, Any]]) -> Iterator[str]:
    """For a terminal: the example first, then what it was made from."""
    for record in chain:
        yield f"example {record['example_id']} ({plain(_identity(record))}, run {record['run_id']})"
        yield f"  question: {plain(record['question'])}"
        yield f"  answer:   {plain(record['answer'])}"
        if record["trained_iterations"]:
            yield f"  trained in iterations: {', '.join(str(n) for n in record['trained_iterations'])}"
        if "removed_iteration" in record:
            yield f"  kept out by a person from iteration {record['removed_iteration']} on"
        if record["origin"] == "seed":
            yield f"  from {plain(record['source'])}:{record['line']}"
            continue
        for verdict in record["verdicts"]:
            decision = f"{verdict['verdict']} {verdict['reason']}"
            yield f"  check {plain(verdict['check_name'])}: {plain(decision)}"
            if verdict["check_name"] == "verify":
                if verdict["score"] is not None:
                    chance = f"{verdict['score']:.2f}"
                    yield f"    right with probability {chance}, if right and wrong were equally frequent"
                yield f"    {FREED}: {plain(verdict['detail'])}"
                yield from (f"    {plain(vote)}" for vote in record["votes"])
        yield f"  written by {plain(record['model_name'])}, sha256 {plain(record['model_sha256'])}"
        yield f"  sampling {plain(record['sampling'])}, rng_seed {record['rng_seed']}, attempt {record['attempt']}"
        yield "  prompt:"
        for line in prompt_text(record["prompt"]).splitlines():
            yield f"    | {plain(line)}"
        yield f"  reply: {plain(record['output_text'])}"
        predicted = plain(record["predicted_answer"]) if "predicted_answer" in record else "nothing readable"
        yield f"made for this one, which in iteration {record['failed_iteration']} the student answered {predicted!r}:"


def _identity(record: Mapping[str, Any]) -> str:
    """A row of the person's says below where it is from."""
    if record["origin"] != "seed":
        return f"{record['origin']}, {record['key']}"
    return "seed" if record["split"] == "train" else f"{record['split']} row"


def prompt_text(prompt: str) -> str:
    """A prompt as it is stored (JSON), to read: each message after its role."""
    content = json.loads(prompt)
    if isinstance(content, str):
        return content
    return "\n".join(f"[{message['role']}] {message['content']}" for message in content)
