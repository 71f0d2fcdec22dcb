"""No process of ours reaches the network, and whoever tries is named."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from llm2llm_local.teacher.protocol import TeacherSettings
from llm2llm_local.workers.messages import Answer, Call, Crashed

ENFORCE = "from llm2llm_local import airgap\nairgap.enforce()\n"

ATTEMPTS = {
    "a connection": "socket.create_connection(('127.0.0.1', 9))",
    "a connection to an address of IPv6": "socket.socket(socket.AF_INET6).connect(('::1', 9))",
    "a connection that doesn't wait": "socket.socket().connect_ex(('127.0.0.1', 9))",
    "a name": "socket.getaddrinfo('example.com', 80)",
    "a name in the old way": "socket.gethostbyname('example.com')",
    "the name of an address": "socket.gethostbyaddr('127.0.0.1')",
    "a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
    "a message": "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b''], [], 0, ('127.0.0.1', 9))",
    "a server": "socket.create_server(('127.0.0.1', 0))",
    "a web page": "urllib.request.urlopen('http://example.com/')",
    "a web page by address": "urllib.request.urlopen('http://127.0.0.1:9/')",
    "a secure web page": "urllib.request.urlopen('https://127.0.0.1:9/')",
    "asyncio": "asyncio.run(asyncio.open_connection('127.0.0.1', 9))",
}


def run_script(folder: Path, script: str, environment: Mapping[str, str] | None = None) -> str:
    """What a fresh process prints that runs `script` from a file."""
    file = folder / "culprit.py"
    file.write_text(script)
    return subprocess.run(
        [sys.executable, file],
        env={**without_offline_variables(), **(environment or {})},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def without_offline_variables() -> dict[str, str]:
    """The environment as a person has it: no process of ours was in between."""
    return {name: value for name, value in os.environ.items() if name not in OFFLINE}


OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_network_is_refused_and_who_tried_is_named(tmp_path: Path, attempt: str) -> None:
    script = f"""\
import asyncio, socket, urllib.request
from llm2llm_local.errors import NetworkRefusedError
{ENFORCE}
try:
    {ATTEMPTS[attempt]}
except NetworkRefusedError as error:
    print(error)
"""
    printed = run_script(tmp_path, script, {"no_proxy": "*"})
    assert printed.startswith("network access refused: socket.")
    line = 1 + next(number for number, text in enumerate(script.splitlines()) if ATTEMPTS[attempt] in text)
    assert f"from {tmp_path / 'culprit.py'}:{line}.\n" in printed
    assert "This program works without a network." in printed


def test_nothing_leaves_when_a_server_would_answer(tmp_path: Path) -> None:
    """The proof that the refusal comes before the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""\
import socket
from llm2llm_local.errors import NetworkRefusedError
socket.create_connection(("127.0.0.1", {port})).close()
{ENFORCE}
try:
    socket.create_connection(("127.0.0.1", {port}))
except NetworkRefusedError:
    print("refused")
"""
        assert run_script(tmp_path, script) == "refused\n"
        server.settimeout(5)
        server.accept()[0].close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_refusal_is_no_network_error_that_a_library_would_swallow(tmp_path: Path) -> None:
    script = f"""\
import urllib.request
from llm2llm_local.errors import Llm2LlmError
{ENFORCE}
try:
    urllib.request.urlopen("http://127.0.0.1:9/")
except OSError:
    print("just a network error")
except Llm2LlmError:
    print("refused")
"""
    assert run_script(tmp_path, script) == "refused\n"


def test_it_holds_in_threads_and_cannot_be_undone(tmp_path: Path) -> None:
    script = f"""\
import importlib, socket, threading
from llm2llm_local.errors import NetworkRefusedError
{ENFORCE}

def attempt():
    try:
        socket.create_connection(("127.0.0.1", 9))
    except NetworkRefusedError:
        print("refused")

importlib.reload(socket)
importlib.reload(airgap)
thread = threading.Thread(target=attempt)
thread.start()
thread.join()
attempt()
"""
    assert run_script(tmp_path, script) == "refused\nrefused\n"


def test_unix_sockets_stay_on_the_machine_and_work(tmp_path: Path) -> None:
    script = f"""\
import multiprocessing.connection, socket, sys
{ENFORCE}
here, there = socket.socketpair()
here.sendall(b"pair ")
received = there.recv(5)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.path[0] + "/socket")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(sys.path[0] + "/socket")
client.sendall(b"path")
print((received + server.accept()[0].recv(4)).decode())
listener = multiprocessing.connection.Listener(family="AF_UNIX")
client = multiprocessing.connection.Client(listener.address)
listener.accept().send("pipe")
print(client.recv())
"""
    assert run_script(tmp_path, script) == "pair path\npipe\n"


def test_what_a_person_set_does_not_let_libraries_out(tmp_path: Path) -> None:
    script = f"import os\n{ENFORCE}print([os.environ[name] for name in {list(OFFLINE)!r}])\n"
    assert run_script(tmp_path, script, dict.fromkeys(OFFLINE, "0")) == f"{list(OFFLINE.values())!r}\n"


# --- every process is closed before it imports anything heavy ---


def probe(folder: Path, module: str) -> Path:
    """A stand-in for a library that, when it is imported, writes down how far it could get, and fails."""
    log = folder / "probe.txt"
    (folder / f"{module}.py").write_text(
        f"""\
import os, socket
with open({str(log)!r}, "a") as log:
    log.write("imported " + " ".join(os.environ.get(name, "unset") for name in {list(OFFLINE)!r}) + "\\n")
    try:
        socket.create_connection(("127.0.0.1", 9))
    except Exception as error:
        log.write(f"{{type(error).__name__}}: {{error}}\\n")
raise ImportError("this is only a probe")
"""
    )
    return log


def assert_probe_found_no_way_out(log: Path, module: str) -> None:
    lines = log.read_text().splitlines()
    assert lines[0] == "imported 1 1 1 1 1"
    assert re.fullmatch(
        rf"NetworkRefusedError: network access refused: socket\.\w+ from .*/{module}\.py:5\.", lines[1]
    ), lines[1]


@pytest.mark.parametrize(("role", "module"), [("teacher", "llama_cpp"), ("student", "torch")])
def test_a_worker_is_closed_before_it_imports_its_engine(tmp_path: Path, role: str, module: str) -> None:
    log = probe(tmp_path, module)
    answer = load_in_worker(tmp_path, role)
    assert isinstance(answer, Crashed)
    assert answer.summary == "ImportError: this is only a probe"
    assert_probe_found_no_way_out(log, module)


def load_in_worker(folder: Path, role: str) -> Answer:
    """Starts the worker's own entry with `folder` in front of all libraries, and asks it to load a model."""
    here, there = socket.socketpair()
    with here, there:
        worker = subprocess.Popen(
            [sys.executable, "-m", "llm2llm_local.workers.main", role, str(there.fileno())],
            env={**without_offline_variables(), "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        with worker:
            there.close()
            connection: Connection[Any, Any] = Connection(here.detach())
            try:
                connection.send(Call("load", (TeacherSettings(Path("none"), 512, 1, 0, 1, 512, 2**20, "f16", "auto"),)))
                assert connection.poll(30)
                answer: Answer = connection.recv()
            finally:
                connection.close()
                worker.send_signal(signal.SIGKILL)
    return answer


@pytest.mark.parametrize(
    "entry",
    [
        ["-m", "llm2llm_local"],
        ["-c", "import sys; from llm2llm_local.cli import main; sys.argv[0] = 'llm2llm'; main()"],
        [str(Path(sys.executable).with_name("llm2llm"))],
    ],
    ids=["module", "function", "script"],
)
def test_the_command_line_is_closed_before_it_imports_its_parts(tmp_path: Path, entry: list[str]) -> None:
    log = probe(tmp_path, "pydantic")  # what reads the configuration
    (tmp_path / "llm2llm.toml").write_text("")
    process = subprocess.run(
        [sys.executable, *entry, "config", str(tmp_path / "llm2llm.toml")],
        env={**without_offline_variables(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "this is only a probe" in process.stderr
    assert_probe_found_no_way_out(log, "pydantic")
