"""What the store promises to have: its tables, and its views with their columns."""

from __future__ import annotations

TABLES = {
    "runs",
    "iterations",
    "stages",
    "examples",
    "training_set_examples",
    "checkpoints",
    "predictions",
    "teacher_calls",
    "candidates",
    "candidates_search",
    "verdicts",
    "reviews",
    "metrics",
    "events",
    "commands",
    "models",
    "plans",
    "votes",
    "audits",
}
VIEWS = {
    "accuracy_by_iteration": ("run_id", "iteration", "split", "n", "n_correct", "accuracy"),
    "failures": ("run_id", "iteration", "example_id", "question", "answer", "predicted_answer", "confidence"),
    "rejections": ("run_id", "iteration", "check_name", "reason", "n"),
    "teacher_yield": ("run_id", "iteration", "n_failures", "n_candidates", "n_accepted", "n_rejected", "n_doubt"),
    "lineage": (
        "run_id",
        "example_id",
        "question",
        "answer",
        "candidate_id",
        "teacher_call_id",
        "parent_example_id",
        "parent_question",
        "failed_iteration",
        "predicted_answer",
        "first_trained_iteration",
    ),
}
