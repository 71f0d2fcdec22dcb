"""What came of an example, step by step: answers → teacher calls → candidates → verdicts, decisions, new examples.

Children are read one node at a time, so that a tree costs as much as is looked at. The same steps lead back: the
path of an example or a candidate begins with its seed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import StoreError
from .plain import conclusion

Kind = Literal["example", "training", "answer", "call", "candidate", "check", "decision"]


@dataclass(frozen=True, slots=True)
class Step:
    """Names a node. `id`: of the row in its kind's table; of the example for `training`."""

    kind: Kind
    id: int


@dataclass(frozen=True, slots=True)
class Node:
    """`title` is in our words, `text` is of data or models. `mark`: an outcome, a verdict or a decision, or ''.

    `is_lost`: a wrong answer where the student before was right.
    """

    step: Step
    title: str
    text: str
    mark: str
    has_children: bool
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """A node, and all its children; of a path, the nodes below follow in the next one."""

    node: Node
    children: tuple[Node, ...]


def seed_ids(connection: sqlite3.Connection, run_id: int, search: str) -> list[int]:
    """The seeds of a run whose question has this in it, as in the file."""
    rows = connection.execute(
        "SELECT id FROM examples WHERE run_id = ?1 AND split = 'train' AND origin = 'seed' "
        "AND (?2 = '' OR instr(lower(question), lower(?2))) ORDER BY id",
        [run_id, search],
    )
    return [row[0] for row in rows]


def example_node(connection: sqlite3.Connection, example_id: int) -> Node:
    """Raises StoreError when there is no such example."""
    nodes = _examples(connection, "e.id = ?", example_id)
    if not nodes:
        raise StoreError(
            f"there is no example {example_id}", "Find one: llm2llm query 'SELECT id, question FROM examples'"
        )
    return nodes[0]


def children(connection: sqlite3.Connection, step: Step) -> tuple[Node, ...]:
    """In the order in which it happened."""
    match step.kind:
        case "example":
            return (*_training(connection, step.id), *_answers(connection, step.id))
        case "answer":
            return _calls(connection, step.id)
        case "call":
            return _candidates(connection, step.id)
        case "candidate":
            made = _examples(connection, "e.candidate_id = ?", step.id)
            return (*_checks(connection, step.id), *_decisions(connection, step.id), *made)
        case _:
            return ()


def path_to_example(connection: sqlite3.Connection, run_id: int, example_id: int) -> list[Step]:
    """From its seed to it. Raises StoreError when the run has no such example."""
    row = connection.execute("SELECT run_id, candidate_id FROM examples WHERE id = ?", [example_id]).fetchone()
    _require(row, run_id, f"example {example_id}")
    before = [] if row["candidate_id"] is None else path_to_candidate(connection, run_id, row["candidate_id"])
    return [*before, Step("example", example_id)]


def path_to_candidate(connection: sqlite3.Connection, run_id: int, candidate_id: int) -> list[Step]:
    """From its seed to it. Raises StoreError when the run has no such candidate."""
    row = connection.execute(
        "SELECT c.run_id, c.teacher_call_id, c.parent_example_id, p.id AS prediction_id FROM candidates c "
        "JOIN predictions p ON p.example_id = c.parent_example_id AND p.iteration = c.iteration WHERE c.id = ?",
        [candidate_id],
    ).fetchone()
    _require(row, run_id, f"candidate {candidate_id}")
    return [
        *path_to_example(connection, run_id, row["parent_example_id"]),
        Step("answer", row["prediction_id"]),
        Step("call", row["teacher_call_id"]),
        Step("candidate", candidate_id),
    ]


def branches(connection: sqlite3.Connection, path: Sequence[Step]) -> list[Branch]:
    """Every node of a path that begins with an example, with its children; of the state that the path was read from."""
    node = example_node(connection, path[0].id)
    found = [Branch(node, children(connection, node.step))]
    for step in path[1:]:
        node = next(child for child in found[-1].children if child.step == step)
        found.append(Branch(node, children(connection, step)))
    return found


def _require(row: sqlite3.Row | None, run_id: int, what: str) -> None:
    if row is None:
        raise StoreError(f"there is no {what}", "Ids of this run are in the tables examples and candidates.")
    if row["run_id"] != run_id:
        raise StoreError(f"{what} is of run {row['run_id']}, not of run {run_id}", "Choose that run first.")


def _examples(connection: sqlite3.Connection, condition: str, parameter: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT e.id, e.origin, e.question, e.answer, e.removed_iteration, e.review_id, "
        "EXISTS (SELECT 1 FROM training_set_examples t WHERE t.example_id = e.id) "
        "OR EXISTS (SELECT 1 FROM predictions p WHERE p.example_id = e.id) AS has_children "
        f"FROM examples e WHERE {condition} ORDER BY e.id",
        [parameter],
    )
    nodes = []
    for row in rows:
        title = f"{'seed' if row['origin'] == 'seed' else 'example'} {row['id']}"
        if row["removed_iteration"] is not None:
            title += f", kept out from iteration {row['removed_iteration']} on"
        text = f"{row['question']} = {conclusion(row['answer'])}"
        nodes.append(Node(Step("example", row["id"]), title, text, "", bool(row["has_children"])))
    return tuple(nodes)


def _training(connection: sqlite3.Connection, example_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT iteration FROM training_set_examples WHERE example_id = ? ORDER BY iteration", [example_id]
    )
    iterations = [row[0] for row in rows]
    if not iterations:
        return ()
    return (Node(Step("training", example_id), f"trained in {_ranges(iterations)}", "", "", False),)


def _answers(connection: sqlite3.Connection, example_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT p.id, p.iteration, p.outcome, p.is_correct, p.predicted_answer, p.output_text, p.confidence, "
        "EXISTS (SELECT 1 FROM teacher_calls t WHERE t.example_id = p.example_id AND t.iteration = p.iteration) "
        "AS has_children FROM predictions p WHERE p.example_id = ? ORDER BY p.iteration",
        [example_id],
    )
    nodes = []
    was_correct = False
    for row in rows:
        title = f"iteration {row['iteration']}" + ("" if row["confidence"] is None else f", {row['confidence']:.0%}")
        text = row["output_text"] if row["predicted_answer"] is None else row["predicted_answer"]
        is_lost = was_correct and not row["is_correct"]
        step = Step("answer", row["id"])
        nodes.append(Node(step, title, text, row["outcome"], bool(row["has_children"]), is_lost))
        was_correct = bool(row["is_correct"])
    return tuple(nodes)


def _calls(connection: sqlite3.Connection, prediction_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT t.id, t.attempt, t.slot, t.output_text, "
        "EXISTS (SELECT 1 FROM candidates c WHERE c.teacher_call_id = t.id) AS has_children "
        "FROM predictions p JOIN teacher_calls t ON t.example_id = p.example_id AND t.iteration = p.iteration "
        "WHERE p.id = ? ORDER BY t.attempt, t.slot",
        [prediction_id],
    )
    return tuple(
        Node(
            Step("call", row["id"]),
            f"teacher, round {row['attempt'] + 1}, place {row['slot'] + 1}",
            row["output_text"],
            "",
            bool(row["has_children"]),
        )
        for row in rows
    )


def _candidates(connection: sqlite3.Connection, call_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT c.id, c.question, c.answer, c.verdict, "
        "EXISTS (SELECT 1 FROM verdicts v WHERE v.candidate_id = c.id) "
        "OR EXISTS (SELECT 1 FROM reviews r WHERE r.candidate_id = c.id) AS has_children "
        "FROM candidates c WHERE c.teacher_call_id = ? ORDER BY c.id",
        [call_id],
    )
    nodes = []
    for row in rows:
        text = "" if row["question"] is None else f"{row['question']} = {conclusion(row['answer'])}"
        title = f"candidate {row['id']}" + ("" if text else ", can't be read")
        nodes.append(Node(Step("candidate", row["id"]), title, text, row["verdict"], bool(row["has_children"])))
    return tuple(nodes)


def _checks(connection: sqlite3.Connection, candidate_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT id, check_name, verdict, reason, score FROM verdicts WHERE candidate_id = ? ORDER BY id", [candidate_id]
    )
    return tuple(
        Node(
            Step("check", row["id"]),
            f"{row['check_name']} check" + ("" if row["score"] is None else f", {row['score']:.2f}"),
            row["reason"],
            row["verdict"],
            False,
        )
        for row in rows
    )


def _decisions(connection: sqlite3.Connection, candidate_id: int) -> tuple[Node, ...]:
    rows = connection.execute(
        "SELECT id, decision, applied_iteration, refused_reason, question IS NOT NULL OR answer IS NOT NULL AS edited "
        "FROM reviews WHERE candidate_id = ? ORDER BY id",
        [candidate_id],
    )
    nodes = []
    for row in rows:
        fate = "waits" if row["applied_iteration"] is None else f"since iteration {row['applied_iteration']}"
        if row["refused_reason"] is not None:
            fate = "not carried out"
        title = f"person: {row['decision']}{' with changes' if row['edited'] else ''}, {fate}"
        nodes.append(Node(Step("decision", row["id"]), title, row["refused_reason"] or "", row["decision"], False))
    return tuple(nodes)


def _ranges(numbers: Sequence[int]) -> str:
    """`iterations 1–3, 5` of ascending numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    named = ", ".join("–".join(map(str, part)) for part in parts)
    return f"iteration{'s' if len(numbers) > 1 else ''} {named}"
