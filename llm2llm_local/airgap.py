"""No network, in every process: offline variables for the libraries, and a hook that refuses sockets.

`enforce` is the first thing that each of our processes does. The hook can't be removed again; it lets Unix
sockets through, which stay on the machine.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
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
        (frame for frame in reversed(traceback.extract_stack()) if frame.filename not in (__file__, socket.__file__)),
        None,
    )
    where = f"{culprit.filename}:{culprit.lineno}" if culprit else "unknown code"
    raise NetworkRefusedError(f"network access refused: {event} from {where}", "This program works without a network.")
