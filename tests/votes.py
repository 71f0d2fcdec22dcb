"""Votes of verifiers, for tests."""

from __future__ import annotations

import math

from llm2llm_local.records import Vote


def scored(intended: str, **probabilities: float) -> Vote:
    scores = {choice: math.log(probability) for choice, probability in probabilities.items()}
    return Vote(max(probabilities, key=probabilities.__getitem__), scores, intended, None, "")


def written(agrees: bool | None) -> Vote:
    return Vote("72" if agrees is not None else None, {}, None, agrees, "#### 72")


def with_evidence(intended: str, nats: float) -> Vote:
    """A ballot of two choices, "a" and "b"."""
    other = "b" if intended == "a" else "a"
    return scored(intended, **{intended: 1 / (1 + math.exp(-nats)), other: 1 / (1 + math.exp(nats))})
