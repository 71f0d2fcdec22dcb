"""A worker process: `python -m llm2llm_local.workers.main ROLE FD`.

Imports what its engine needs, then loads the engine when told to and answers calls over the pipe with descriptor FD
until the pipe closes. The imports take no memory of the device, so they may be done while another worker has it. Its
standard input is a lifeline: it closes when the parent dies, however it dies, and the worker ends at once.

`serve` is all of that but the engine; children of the benchmarks are made of it too.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .. import airgap
from ..errors import Llm2LlmError
from .messages import Call, Crashed, Progressed, Refused, Returned


def main(role: str, descriptor: int) -> None:
    serve(descriptor, lambda settings: _load(role, settings), lambda: _import_libraries(role))


def serve(descriptor: int, load: Callable[[Any], Any], prepare: Callable[[], None] = lambda: None) -> None:
    """Answer calls until the pipe closes; the first is "load", whose settings `load` makes the engine of.

    `prepare` is done before that one comes, without a sign of life; what it raises is the answer to that one.
    """
    airgap.enforce()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    connection: Connection[Any, Any] = Connection(descriptor)
    unprepared = _exception_of(prepare)
    engine: Any = None
    while True:
        try:
            call: Call = connection.recv()
        except EOFError:
            return
        try:
            if unprepared is not None:
                raise unprepared
            if call.method == "load":
                engine = load(*call.arguments)
                value = None
            else:
                value = getattr(engine, call.method)(
                    *call.arguments, lambda *figures: connection.send(Progressed(figures))
                )
            answer: Returned | Refused = Returned(value)
        except Llm2LlmError as error:
            answer = Refused(error)
        except Exception as error:  # noqa: BLE001 - the parent decides what an engine's defect means
            traceback.print_exc()  # before the answer, since the parent then ends this process
            connection.send(Crashed(f"{type(error).__name__}: {error}"))
            return
        connection.send(answer)


def _exception_of(prepare: Callable[[], None]) -> Exception | None:
    try:
        prepare()
    except Exception as error:  # noqa: BLE001 - kept for the first answer: nobody listens yet
        return error
    return None


def _import_libraries(role: str) -> None:
    if role == "teacher":
        from ..teacher import llama  # noqa: F401
    else:
        from ..student import libraries  # noqa: F401


def _load(role: str, settings: Any) -> Any:
    if role == "teacher":
        from ..teacher.llama import LlamaTeacher

        return LlamaTeacher(settings)
    from ..student.lora import LoraStudent

    return LoraStudent(settings)


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
