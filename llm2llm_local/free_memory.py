"""How much memory this process may still take.

What the machine has left is not enough to know: containers and services have limits of their own (control groups,
version 2), and who goes beyond one is killed.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """The least of what the machine and the control groups of this process have left."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def _left_in_groups() -> list[int]:
    """Of the process's group and of those around it, where they have a limit; pages of files can be given back."""
    left = []
    group = _own_group()
    while group is not None:
        try:
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            used = int((group / "memory.current").read_text(encoding="ascii"))
            left.append(max(0, limit - used + _file_bytes(group / "memory.stat")))
        except (OSError, ValueError):
            pass  # the root has no such files, and "max" is no limit
        group = group.parent if group != _GROUPS else None
    return left


def _own_group() -> Path | None:
    """None: the system has no control groups of version 2."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    paths = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return _GROUPS / paths[0] if paths else None


def _file_bytes(statistics: Path) -> int:
    """Of files that were not used lately: what the kernel takes back before anything else."""
    for line in statistics.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
