"""How long `bench gpu` may take: under nine minutes, with the setting up before it."""

from __future__ import annotations

import os
import time

from ..measure import TimeLimits

STARTED = "LLM2LLM_BENCH_STARTED"
"""Environment: when the setting up began, in seconds since the epoch. `make bench-gpu` tells it."""

_BEGIN_SECONDS, _END_SECONDS = 480.0, 530.0
"""From then on: when nothing new is begun any more, and when what still runs is ended."""


def time_limits() -> TimeLimits:
    """From when the setting up began; from now where nothing tells that."""
    now = time.time()
    passed = now - float(os.environ.get(STARTED, now))
    start = time.monotonic() - passed
    return TimeLimits(begin=start + _BEGIN_SECONDS, end=start + _END_SECONDS)
