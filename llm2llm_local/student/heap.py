"""What tensors held goes back to the system when they are gone, where the C library is glibc.

By default blocks of up to 32 MiB soon come from its heaps, where what is freed is often too scattered to be given back:
of the default student's loading, quantizing and joining 50 to 400 MiB were left in memory, another amount each time.
"""

from __future__ import annotations

import ctypes

_C = ctypes.CDLL(None)
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2**20
"""Predictions were not slower with it; with a quarter of it they took 1.6 times as long."""


def map_large_blocks() -> None:
    """In this process, from now on, each block of `_LARGE_BYTES` or more is a mapping of its own."""
    if hasattr(_C, "mallopt"):
        _C.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back_freed_pages() -> None:
    """Of smaller blocks, as after much was allocated and freed."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
