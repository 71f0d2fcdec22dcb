"""What an audit measured of verifiers, as a row of the store: written by the loop, read by it and by reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..records import Rate

if TYPE_CHECKING:
    import sqlite3

_RATES = ("true_accepts", "false_accepts", "mistake_accepts", "preference")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of `audits`: of one verifier alone, or of those together that decide, on `n_seeds`, each with its right
    answer and with some of the `n_wrong`.

    `agreement`: of one verifier, how often its own answer is right, where it gives one. `true_accepts` and
    `false_accepts`: of right and of wrong answers, how many are let in; `mistake_accepts`: of the wrong ones that
    verifiers came to themselves, on `n_mistaken_seeds`, None where there are none. `preference`: how often a right
    answer is thought likelier than a wrong one, 0.5 is chance. `calibration`: what candidates are judged by.
    """

    verifier: str
    n_seeds: int
    n_wrong: int
    n_mistaken_seeds: int
    agreement: float | None
    true_accepts: Rate
    false_accepts: Rate
    mistake_accepts: Rate | None
    preference: Rate
    calibration: Mapping[str, Any]

    @property
    def weights(self) -> Mapping[str, float]:
        """By verifier: how much a nat of its evidence counts."""
        weights: Mapping[str, float] = self.calibration["weights"]
        return weights


def audit_of(row: sqlite3.Row) -> AuditRow:
    return AuditRow(
        verifier=row["verifier"],
        n_seeds=row["n_seeds"],
        n_wrong=row["n_wrong"],
        n_mistaken_seeds=row["n_mistaken_seeds"],
        agreement=row["agreement"],
        true_accepts=_rate(row, "true_accepts"),
        false_accepts=_rate(row, "false_accepts"),
        mistake_accepts=None if row["mistake_accepts"] is None else _rate(row, "mistake_accepts"),
        preference=_rate(row, "preference"),
        calibration=json.loads(row["calibration"]),
    )


def _rate(row: sqlite3.Row, name: str) -> Rate:
    return Rate(row[name], row[f"{name}_low"], row[f"{name}_high"])


def columns_of(audit: AuditRow) -> dict[str, Any]:
    """As `audit_of` reads them; a rate that there is none of has none."""
    columns: dict[str, Any] = {
        "verifier": audit.verifier,
        "n_seeds": audit.n_seeds,
        "n_wrong": audit.n_wrong,
        "n_mistaken_seeds": audit.n_mistaken_seeds,
        "agreement": audit.agreement,
        "calibration": json.dumps(audit.calibration, ensure_ascii=False),
    }
    for name in _RATES:
        rate: Rate | None = getattr(audit, name)
        if rate is not None:
            columns |= {name: rate.share, f"{name}_low": rate.low, f"{name}_high": rate.high}
    return columns
