"""Audits of verifiers, for tests."""

from __future__ import annotations

from typing import Any

from llm2llm_local.records import TOGETHER, Rate
from llm2llm_local.store.audits import AuditRow

HALF = Rate(0.5, 0.4, 0.6)


def audit_row(verifier: str = TOGETHER, **changes: Any) -> AuditRow:
    """All rates are a half unless said otherwise."""
    fields: dict[str, Any] = {
        "n_seeds": 10,
        "n_wrong": 20,
        "n_mistaken_seeds": 0,
        "agreement": None,
        "true_accepts": HALF,
        "false_accepts": HALF,
        "mistake_accepts": None,
        "preference": HALF,
        "calibration": {"intercept": 0.0, "weights": {verifier: 1.0}, "biases": {verifier: [{}]}},
    }
    return AuditRow(verifier, **fields | changes)
