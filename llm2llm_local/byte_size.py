"""Bytes in words. Standard library only, like `counted`."""

from __future__ import annotations


def byte_size(n_bytes: float) -> str:
    """`512 MiB`, `1.5 GiB`."""
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"
