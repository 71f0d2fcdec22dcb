"""No network, in every process: offline variables for the libraries, and a hook that refuses sockets.

`enforce` is the first thing that each of our processes does. The hook can't be removed again; it lets Unix
sockets through, which stay on the machine.
"""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from .errors import NetworkRefusedError

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
_PACKAGES = Path(sysconfig.get_path("purelib"))

_REFUSED = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
    }
)


def enforce() -> None:
    """Refuse every network access of this process from now on, and tell the libraries beforehand."""
    os.environ.update(_OFFLINE)
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _REFUSED:
        return
    if arguments and isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX:
        return
    culprit = next(
        (frame for frame in reversed(traceback.extract_stack()) if not _is_go_between(frame.filename)),
        None,
    )
    where = f"{culprit.filename}:{culprit.lineno}" if culprit else "unknown code"
    raise NetworkRefusedError(f"network access refused: {event} from {where}", "This program works without a network.")


def _is_go_between(filename: str) -> bool:
    """Whether a frame is the standard library's or this module's: the culprit is who called it."""
    path = Path(filename)
    if filename.startswith("<frozen") or filename == __file__:
        return True
    return path.is_relative_to(_STANDARD_LIBRARY) and not path.is_relative_to(_PACKAGES)
