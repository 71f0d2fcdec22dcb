"""Content hashes of what the program writes itself: adapters and checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path


def folder_digest(folder: Path) -> str:
    """Hex sha256 over the names and contents of the files in `folder` (not below). Raises OSError."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        with file.open("rb") as content:
            total.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
