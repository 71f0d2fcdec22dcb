"""A step of a lineage with everything that is known of it, in full."""

from __future__ import annotations

import sqlite3

from .lineage import prompt_text
from .lineage_tree import Step
from .votes import vote_text, votes_on

Texts = list[tuple[str, str]]
"""Names in our words, texts of data or models."""

_QUERIES = {
    "example": "SELECT question, answer, id AS example, origin, key, split, source AS file, line, "
    "candidate_id AS candidate, parent_example_id AS 'made from', removed_iteration AS 'kept out' "
    "FROM examples WHERE id = ?",
    "answer": "SELECT predicted_answer AS answer, outcome, confidence, output_text AS output, "
    "finish_reason AS 'ended by', iteration, input_tokens AS 'tokens in', output_tokens AS 'tokens out', "
    "created_at AS 'at' FROM predictions WHERE id = ?",
    "call": "SELECT t.prompt, t.output_text AS reply, t.finish_reason AS 'ended by', t.sampling, t.rng_seed, "
    "m.name AS model, m.sha256, t.iteration, t.attempt, t.slot, t.input_tokens AS 'tokens in', "
    "t.output_tokens AS 'tokens out', t.seconds, t.created_at AS 'at' "
    "FROM teacher_calls t JOIN models m ON m.id = t.model_id WHERE t.id = ?",
    "candidate": "SELECT question, answer, verdict, reject_reason AS reason, output_text AS reply, id AS candidate, "
    "key, created_at AS 'at' FROM candidates WHERE id = ?",
    "check": "SELECT check_name AS 'check', verdict, reason, detail, score, created_at AS 'at' "
    "FROM verdicts WHERE id = ?",
    "decision": "SELECT decision, question, answer, applied_iteration AS 'since', refused_reason AS refused, "
    "created_at AS 'at' FROM reviews WHERE id = ?",
}


def texts_of_step(connection: sqlite3.Connection, step: Step) -> Texts:
    """Empty for a step that is gone, as a person's withdrawn verdict."""
    if step.kind == "training":
        return _training(connection, step.id)
    row = connection.execute(_QUERIES[step.kind], [step.id]).fetchone()
    if row is None:
        return []
    known = {name: row[name] for name in row.keys() if row[name] not in (None, "")}  # noqa: SIM118 - a Row isn't a dict
    if step.kind == "call":
        known["prompt"] = prompt_text(known["prompt"])
    texts = [(name, str(value)) for name, value in known.items()]
    if step.kind == "check" and known["check"] == "verify":
        candidate = connection.execute("SELECT candidate_id FROM verdicts WHERE id = ?", [step.id]).fetchone()[0]
        texts += [("vote", vote_text(vote)) for vote in votes_on(connection, candidate)]
    return texts


def _training(connection: sqlite3.Connection, example_id: int) -> Texts:
    rows = connection.execute(
        "SELECT t.iteration, t.position, (SELECT count(*) FROM training_set_examples other "
        "WHERE other.run_id = t.run_id AND other.iteration = t.iteration) AS n "
        "FROM training_set_examples t WHERE t.example_id = ? ORDER BY t.iteration",
        [example_id],
    )
    places = [f"iteration {row['iteration']}: place {row['position'] + 1:,} of {row['n']:,}" for row in rows]
    return [("trained", "\n".join(places))] if places else []
