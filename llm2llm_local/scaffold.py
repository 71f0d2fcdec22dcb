"""`llm2llm init`: a commented configuration with data files beside it, to be changed into one's own."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from .config import FieldDoc, field_docs
from .encoding import NAME_REMEDY, is_utf8
from .errors import DiskError, UserInputError

CONFIG_NAME = "llm2llm.toml"

_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Template:
    """What `init` writes: field values that differ from the defaults, and the data files.

    `remarks`: field → a sentence that follows its description.
    """

    description: str
    values: Mapping[str, str]
    files: Mapping[str, str]
    remarks: Mapping[str, str] = field(default_factory=dict)


def jsonl(rows: Iterable[tuple[str, str]]) -> str:
    """A data file's content: pairs of question and answer, one a line."""
    return "".join(json.dumps({"question": q, "answer": a}, ensure_ascii=False) + "\n" for q, a in rows)


_ABOUT_FIELDS = "# Every field is here; a commented one has its default value, and … stands for none."

_ALL_SEEDS_ONCE = {
    "loop.failure_signal": '"confidence"',
    "loop.least_confident": "1.0",
    "loop.iterations": "1",
    "loop.augmentations_per_failure": "2",
}
_KNOWN_BY_HEART = {
    "loop.failure_signal": "A student knows few seeds by heart, so with train there would be nothing to ask about.",
    "loop.least_confident": "All seeds, in one round: so the gains in README were measured, on labels.",
}

_CLASSIFICATION = Template(
    description="Sort short texts into classes.",
    values={
        "task.family": '"classification"',
        "task.instruction": '"Sort customer reviews of a bakery by what they are about."',
        "task.question_name": '"Review"',
        "task.answer_name": '"Topic"',
        "data.train": '"train.jsonl"',
        "data.test": '"test.jsonl"',
        "teacher.max_new_tokens": "64",
        "teacher.demonstrations": "8",
        "teacher.min_p": "0.05",
        **_ALL_SEEDS_ONCE,
    },
    remarks=_KNOWN_BY_HEART,
    files={
        "train.jsonl": jsonl(
            [
                ("The rye loaf was still warm and full of flavour", "bread"),
                ("best sourdough in town, crisp crust", "bread"),
                ("Rolls were stale by noon", "bread"),
                ("waited twenty minutes at the counter", "service"),
                ("The lady at the till was lovely", "service"),
                ("nobody said hello, they just kept chatting", "service"),
                ("three euros for one croissant??", "price"),
                ("Good value compared with the supermarket", "price"),
                ("prices went up again this month", "price"),
            ]
        ),
        "test.jsonl": jsonl(
            [
                ("the baguette falls apart when you slice it", "bread"),
                ("They were friendly and quick", "service"),
                ("cheap for what you get", "price"),
            ]
        ),
    },
)

_MATH = Template(
    description="Word problems with worked solutions (GSM8K format).",
    values={
        "task.family": '"math"',
        "task.instruction": '"Solve word problems step by step."',
        "data.train": '"train.jsonl"',
        "data.test": '"test.jsonl"',
    },
    files={
        "train.jsonl": jsonl(
            [
                (
                    "A crate holds 6 jars. How many jars are in 7 crates?",
                    "Each crate holds 6 jars, so 7 crates hold 7 * 6 = <<7*6=42>>42 jars.\n#### 42",
                ),
                (
                    "Mia has 20 beads and gives away 8. She then buys 5. How many has she?",
                    "After giving some away she has 20 - 8 = <<20-8=12>>12 beads.\n"
                    "With the new ones she has 12 + 5 = <<12+5=17>>17 beads.\n#### 17",
                ),
                (
                    "A ticket costs 4 coins, half price for children. What do 2 adults and 2 children pay?",
                    "Adults pay 2 * 4 = <<2*4=8>>8 coins.\nA child pays 4 / 2 = <<4/2=2>>2 coins, "
                    "two pay 2 * 2 = <<2*2=4>>4.\nTogether that is 8 + 4 = <<8+4=12>>12 coins.\n#### 12",
                ),
                (
                    "A tank holds 90 litres and loses 5 litres an hour. How much is left after 4 hours?",
                    "In 4 hours it loses 4 * 5 = <<4*5=20>>20 litres.\n"
                    "So 90 - 20 = <<90-20=70>>70 litres are left.\n#### 70",
                ),
                (
                    "Five friends share 35 stickers evenly. Then each loses 2. How many has one of them?",
                    "Each gets 35 / 5 = <<35/5=7>>7 stickers.\nThen 7 - 2 = <<7-2=5>>5 are left.\n#### 5",
                ),
                (
                    "A train has 8 carriages with 40 seats each. 250 seats are taken. How many are free?",
                    "There are 8 * 40 = <<8*40=320>>320 seats.\n"
                    "Of these 320 - 250 = <<320-250=70>>70 are free.\n#### 70",
                ),
            ]
        ),
        "test.jsonl": jsonl(
            [("A shelf has 3 rows of 9 books. 4 are lent out. How many are left?", "3 * 9 = 27, 27 - 4 = 23.\n#### 23")]
        ),
    },
)

_MULTIPLE_CHOICE = Template(
    description="Choose the right one of some options.",
    values={
        "task.family": '"multiple_choice"',
        "task.instruction": '"Questions about everyday physics with three options, one of which is right."',
        "data.train": '"train.jsonl"',
        "data.test": '"test.jsonl"',
        **_ALL_SEEDS_ONCE,
    },
    remarks=_KNOWN_BY_HEART,
    files={
        "train.jsonl": jsonl(
            [
                (
                    "Why does a puddle dry up in the sun?\n\n"
                    "(A) the water evaporates\n(B) the water freezes\n(C) the water burns",
                    "A",
                ),
                (
                    "What does a compass needle point to?\n\n"
                    "(A) the nearest river\n(B) the sun\n(C) the magnetic north pole",
                    "C",
                ),
                (
                    "Which of these floats on water?\n\n(A) an iron nail\n(B) a cork\n(C) a pebble",
                    "B",
                ),
                (
                    "What makes a balloon stick to a jumper that it was rubbed on?\n\n"
                    "(A) static electricity\n(B) glue in the rubber\n(C) warm air",
                    "A",
                ),
                (
                    "Why do we see ourselves in a mirror?\n\n"
                    "(A) it makes light of its own\n(B) it sends light back\n(C) it is colder than the room",
                    "B",
                ),
                (
                    "Which end of a lever needs less force to lift a stone?\n\n"
                    "(A) the one nearer to the pivot\n(B) either, it is all the same\n(C) the one farther away",
                    "C",
                ),
            ]
        ),
        "test.jsonl": jsonl(
            [
                (
                    "Why is thunder heard after the lightning is seen?\n\n"
                    "(A) sound is slower than light\n(B) thunder comes later\n(C) ears are slower than eyes",
                    "A",
                )
            ]
        ),
    },
)

_TEXT = Template(
    description="Questions with a short answer in words.",
    values={
        "task.family": '"text"',
        "task.instruction": '"Turn the word into its plural."',
        "task.question_name": '"Singular"',
        "task.answer_name": '"Plural"',
        "data.train": '"train.jsonl"',
        "data.test": '"test.jsonl"',
        "teacher.max_new_tokens": "64",
        "student.max_new_tokens": "32",
    },
    files={
        "train.jsonl": jsonl(
            [
                ("goose", "geese"),
                ("bakery", "bakeries"),
                ("loaf", "loaves"),
                ("church", "churches"),
                ("spoon", "spoons"),
                ("mouse", "mice"),
            ]
        ),
        "test.jsonl": jsonl([("tooth", "teeth"), ("knife", "knives"), ("garden", "gardens")]),
    },
)


def _demo() -> Template:
    """The bundled task, with what suits the small default models on a CPU."""
    folder = resources.files("llm2llm_local") / "demo"
    return Template(
        description="The bundled demo: messages of tenants to a housing cooperative, sorted into 7 queues.",
        values={
            "task.family": '"classification"',
            "task.instruction": '"Messages from tenants to the office of a housing cooperative."',
            "task.question_name": '"Message"',
            "task.answer_name": '"Queue"',
            "data.train": '"train.jsonl"',
            "data.dev": '"dev.jsonl"',
            "data.test": '"test.jsonl"',
            "teacher.temperature": "0.8",
            "teacher.min_p": "0.05",
            "teacher.max_new_tokens": "48",
            "teacher.context_length": "1024",
            "student.epochs": "6",
            # The student knows its seeds by heart, so nothing would fail; and all of it is over within ten minutes.
            "loop.failure_signal": '"confidence"',
            "loop.least_confident": "0.5",
            "loop.iterations": "2",
            "loop.folds": "3",
            "checks.votes": "1",
        },
        files={
            name: (folder / name).read_text(encoding="utf-8") for name in ("train.jsonl", "dev.jsonl", "test.jsonl")
        },
    )


TEMPLATES = {
    "classification": lambda: _CLASSIFICATION,
    "math": lambda: _MATH,
    "multiple_choice": lambda: _MULTIPLE_CHOICE,
    "text": lambda: _TEXT,
    "demo": _demo,
}


def write_workspace(folder: Path, task: str, models: Path) -> list[Path]:
    """Write the files of an example task into `folder`; the paths written. See `write_template`."""
    return write_template(folder, TEMPLATES[task](), models)


def write_template(folder: Path, template: Template, models: Path) -> list[Path]:
    """Write the files of a template into `folder`, readable by their owner only; the paths written.

    `models` is where the default models lie. Raises UserInputError when a file is there already, the folder can't be
    made or a name isn't UTF-8, DiskError when the disk is full; nothing is left then, nor after any other exception.
    """
    for path in (folder, models):
        if not is_utf8(os.path.realpath(path)):
            raise UserInputError(f"{path}: its path isn't UTF-8", NAME_REMEDY)
    contents = {CONFIG_NAME: render_config(template, Path(os.path.realpath(models))), **template.files}
    check_free(folder, contents)
    try:
        _write_all(folder, contents)
    except OSError as error:
        what = f"{folder}: can't be written to: {error.strerror}"
        if error.errno in _OUT_OF_ROOM:
            raise DiskError(what, "Make room, then try again; nothing was left there.") from None
        raise UserInputError(what, "Name a folder that you may make or write to.") from None
    return [folder / name for name in contents]


def _write_all(folder: Path, contents: dict[str, str]) -> None:
    """All files or none: what was made is removed again when something goes wrong. The first of them, the
    configuration, is made last: where it is, its data are, even if the process was killed in between.
    """
    with ExitStack() as made:
        for place in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            place.mkdir(mode=0o700, exist_ok=True)
            made.callback(_remove, place)
        for name, content in reversed(contents.items()):
            (folder / name).touch(mode=0o600, exist_ok=False)
            made.callback(_remove, folder / name)
            (folder / name).write_text(content, encoding="utf-8")
        made.pop_all()


def _remove(path: Path) -> None:
    """A file, or a folder that is empty. What prevents it is less than what has gone wrong already, which is told."""
    with suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raise UserInputError when one of these files is in `folder` already, or that is no folder."""
    if folder.exists() and not folder.is_dir():
        raise UserInputError(f"{folder}: is a file, not a folder", "Name a folder; it is made where there is none.")
    existing = [name for name in names if os.path.lexists(folder / name)]  # a link to nothing is there, too
    if existing:
        raise UserInputError(f"{folder / existing[0]}: is there already", "Choose another folder; nothing was written.")


def render_config(template: Template, models: Path) -> str:
    """A TOML file with every field: those that the template sets, and the others commented out."""
    values = {
        "teacher.model": _quoted(models / "SmolLM2-135M-Instruct.Q4_1.gguf"),
        "student.model": _quoted(models / "SmolLM2-135M-Instruct"),
        **template.values,
    }
    lines = [f"# {template.description}", _ABOUT_FIELDS]
    section = ""
    for doc in field_docs():
        name, key = doc.name.split(".")
        if name != section:
            section = name
            lines += ["", f"[{section}]"]
        lines += [f"# {line}" for line in _wrapped(doc, template.remarks.get(doc.name, ""))]
        if doc.name in values:
            lines.append(f"{key} = {values[doc.name]}")
        else:
            lines.append(f"# {key} = {'…' if doc.default == 'not set' else doc.default}")
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """As TOML: JSON's strings are that, but for the DEL character, which they may hold as it is."""
    return json.dumps(str(path), ensure_ascii=False).replace("\x7f", "\\u007f")


def _wrapped(doc: FieldDoc, remark: str) -> list[str]:
    import textwrap

    allowed = f" [{doc.range}]" if doc.range else f" [{doc.type}]" if "|" in doc.type else ""
    return textwrap.wrap(f"{doc.description}{allowed} {remark}", width=100)
