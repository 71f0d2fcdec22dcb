"""How much memory a student allows itself: kept by the code that needs torch, and read by who plans without it."""

from __future__ import annotations

LOGITS_AT_ONCE = 2**23
"""Scores of the vocabulary that a training's loss makes at a time: 32 MiB in float32."""

SHARE_TO_KEEP = 0.25
"""Of the memory that is free and not reserved once a student is loaded: what its dequantized weights may take on a CPU.
"""
