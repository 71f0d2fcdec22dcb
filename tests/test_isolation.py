"""The air gap and the full disk, with namespaces of the tests' own: a whole run without any network interface, and
one on a file system that fills up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comparison import differences
from killing import finish, llm2llm, make_workspace, units_done

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.model


def _can_unshare(*flags: str) -> bool:
    try:
        return subprocess.run(["unshare", *flags, "true"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        return False


needs_network_namespace = pytest.mark.skipif(
    not _can_unshare("-rn"), reason="the kernel forbids network namespaces (unshare -rn)"
)
needs_mount_namespace = pytest.mark.skipif(
    not _can_unshare("-rm"), reason="the kernel forbids mount namespaces (unshare -rm)"
)


@needs_network_namespace
def test_a_whole_run_needs_no_network_interface(tmp_path: Path, tiny_models: TinyModels) -> None:
    workspace = make_workspace(tmp_path / "w", tiny_models.teacher, tiny_models.student, loop__iterations="1")
    script = f"""
        test -z "$(ip -o link 2>/dev/null | grep -v ' lo:')" || exit 90
        exec {sys.executable} -m llm2llm_local -C {workspace} run
    """
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "refused" not in done.stderr
    stages = subprocess.run(
        [sys.executable, "-m", "llm2llm_local", "-C", str(workspace), "query", "SELECT DISTINCT stage FROM stages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"train", "predict", "grade", "augment", "check"} <= set(stages)


@needs_mount_namespace
@pytest.mark.parametrize(
    ("room_kib", "begin"),
    [
        # So little room is refused beforehand: it goes while the first model is loaded.
        (400, "run & until test -e runs/1/teacher.log || ! kill -0 $!; do sleep 0.05; done; fill; wait $!"),
        (1800, "fill; run"),
    ],
    ids=["during a checkpoint", "during a commit"],
)
def test_a_full_disk_stops_the_run_resumable_and_loses_nothing(
    tmp_path: Path, tiny_models: TinyModels, room_kib: int, begin: str
) -> None:
    """The workspace is a small file system with `room_kib` left, filled so that the run can start but not end."""
    signal = '"train"'  # which leaves few adapters
    calm = make_workspace(tmp_path / "calm", tiny_models.teacher, tiny_models.student, loop__failure_signal=signal)
    finish(llm2llm(calm, "run"), calm)
    template = make_workspace(
        tmp_path / "template", tiny_models.teacher, tiny_models.student, loop__failure_signal=signal
    )
    mount, kept = tmp_path / "mount", tmp_path / "kept"
    mount.mkdir()
    command = f"{sys.executable} -m llm2llm_local -C {mount}"
    # The file system lives as long as the namespace, so the whole story happens in one script.
    script = f"""
        set -u
        mount -t tmpfs -o size=64m none {mount} && cp {template}/* {mount}/ || exit 90
        {command} status; {command} query 'SELECT 1'
        cd {mount}
        fill() {{
            free=$(df --output=avail -k {mount} | tail -n 1)
            head -c $(( (free - {room_kib}) * 1024 )) /dev/zero > {mount}/filler
        }}
        run() {{ {command} run > /dev/null 2> {tmp_path}/full.txt; }}
        {begin}; echo $? > {tmp_path}/code
        rm {mount}/filler
        {command} resume > {tmp_path}/resumed.txt 2>&1
        echo $? > {tmp_path}/code2
        cp -r {mount} {kept}
    """
    subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, timeout=300, check=False)
    message = (tmp_path / "full.txt").read_text()
    assert (tmp_path / "code").read_text().strip() == "1", message[-2000:]
    assert "Traceback" not in message
    assert "No space left on device" in message or "database or disk is full" in message, message[-2000:]
    assert "Make room, then: llm2llm resume" in message
    assert (tmp_path / "code2").read_text().strip() == "0", (tmp_path / "resumed.txt").read_text()[-2000:]
    assert units_done(kept) == units_done(calm)
    assert differences(calm, 1, kept, 1) == []
    assert [path.name for path in (kept / "runs").iterdir()] == ["1"]
