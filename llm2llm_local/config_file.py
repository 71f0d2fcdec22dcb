"""The configuration file, read: TOML, with overrides from the command line.

What comes out of it is right as a whole: each key is known, each value is of its type and in its range, what belongs
together agrees, paths are absolute, what the recipe stands for is in force. What isn't is said with the file, the
field and the value, several mistakes at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .cells import cut
from .config import (
    Config,
    DataConfig,
    SampleConfig,
    Section,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
    sections,
    toml_text,
)
from .encoding import NAME_REMEDY, REMEDY, UNFIT_REMEDY, UTF16_REMEDY, is_utf8, unfit_character, wide_encoding
from .errors import ConfigError
from .recipes import in_force, recipe_of
from .spelling import alike, difference, look

_PATHS = frozenset(
    f"{section}.{key}"
    for section, kind in (("data", DataConfig), ("teacher", TeacherConfig), ("student", StudentConfig))
    for key, field in kind.model_fields.items()
    if "Path" in str(field.annotation)
)
_ALL_FIELDS = "All fields: llm2llm config --help"
_SPELLING_REMEDY = 'A text stands in straight quotes on one line, "like this"; true and false are in lower case.'

_REASONS = {
    "string_type": "must be a text in quotes",
    "path_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
    "too_long": "has {actual_length} entries; at most {max_length} are allowed",
}
"""What is wrong with a value, by pydantic's name for it, where its own words are about Python."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a document comes from: its file, but for the fields that overrides have set, by their dotted names."""

    file: str
    overridden: tuple[str, ...]

    def of(self, *names: str) -> str:
        """What a message about these fields begins with: an override where one, or a part of one, is from there."""
        pairs = [(f"{name}.", f"{one}.") for name in names for one in self.overridden]
        is_overridden = any(name.startswith(one) or one.startswith(name) for name, one in pairs)
        return "--set " if is_overridden else f"{self.file}: "


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path`, apply `section.key=value` overrides, check everything.

    Relative paths in the file count from the file's folder, those in overrides too. Raises ConfigError for
    a missing or unreadable file, invalid TOML, an unknown key (with the one that may be meant), a wrong type or
    a value out of range; several mistakes are reported together.
    """
    document = _parse_toml(read_text(path, "Write one with: llm2llm init DIR"), path)
    overridden = [_apply_override(document, override) for override in overrides]
    if not is_utf8(str(path.resolve())):
        raise ConfigError(f"{path}: its path isn't UTF-8", NAME_REMEDY)
    return parse_config(document, source=str(path), base=path.resolve().parent, overridden=overridden)


def read_text(path: Path, remedy_if_missing: str) -> str:
    """The text of the configuration or of a file that it names. Raises ConfigError when there is none in UTF-8."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", remedy_if_missing) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder", "Name a file in it.") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}", "Check the path and its permissions.") from None
    if wide := wide_encoding(raw):
        raise ConfigError(f"{path}: is {wide}, not UTF-8", UTF16_REMEDY)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Of a file with a byte-order mark `error` counts from behind it, and has only what is behind it.
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not valid UTF-8", REMEDY) from None


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The document. Raises ConfigError with the line that is broken: its number alone would have to be looked up."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error).replace("Illegal character '\\n'", "a quote is opened and not closed")
    except ValueError:  # Python's own, for an integer of thousands of digits
        raise ConfigError(f"{path}: not valid TOML: a number has thousands of digits", "Write a shorter one.") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply", "No field is more than a list.") from None
    lines, at = text.split("\n"), re.search(r"\(at line (\d+), column \d+\)$", reason)
    line = f": {_short(lines[int(at[1]) - 1].strip())}" if at else ""
    if reason.startswith(("Cannot declare", "Cannot overwrite")):
        remedy = "Each section and field may be there once: change it where it is."
    elif reason.startswith(("Invalid value", "a quote is opened", "Illegal character")):
        remedy = _SPELLING_REMEDY
    else:
        remedy = "Compare it with what llm2llm init writes."
    raise ConfigError(f"{path}: not valid TOML: {reason}{line}", remedy)


def parse_config(document: dict[str, Any], source: str, base: Path, overridden: Sequence[str] = ()) -> Config:
    """Check a parsed document; `source` names it in errors, but for the fields `overridden`, by dotted names. Relative
    paths count from `base`.
    """
    origin = _Origin(source, tuple(overridden))
    _check_texts(document, origin)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, origin) for item in error.errors()), _ALL_FIELDS) from None
    _check_task(config.task, origin)
    if config.teacher.flash_attention == "off" and config.teacher.kv_cache not in ("auto", "f16"):
        raise ConfigError(
            f"{origin.of('teacher.kv_cache', 'teacher.flash_attention')}teacher.kv_cache = "
            f'"{config.teacher.kv_cache}" needs flash attention, which teacher.flash_attention turns off',
            'Set teacher.flash_attention = "auto", or teacher.kv_cache = "f16".',
        )
    if config.data.question_column == config.data.answer_column:
        raise ConfigError(
            f"{origin.of('data.question_column', 'data.answer_column')}data.question_column and data.answer_column "
            "are the same",
            "Name two: the column of what is asked and that of its answer.",
        )
    _check_loop(config, origin)
    _check_thresholds(config, origin)
    _check_samples(config, origin)
    return in_force(_with_absolute_paths(config, base))


def _check_texts(document: Mapping[str, Any], origin: _Origin) -> None:
    """No text has characters that can't be stored; none but a path, which is as it is on the disk, has control ones."""
    for section_name, section in document.items():
        for key, value in section.items() if isinstance(section, dict) else ():
            name = f"{section_name}.{key}"
            for text in value if isinstance(value, list) else [value]:
                if not isinstance(text, str):
                    continue
                if name in _PATHS:
                    _check_path(text, f"{origin.of(name)}{name} = {_short(toml_text(text))}")
                elif unfit := unfit_character(text):
                    raise ConfigError(f"{origin.of(name)}{name}: has {unfit}", UNFIT_REMEDY)


def _check_path(text: str, where: str) -> None:
    """Of the very text: as a path the empty one would be the folder of the file."""
    if not is_utf8(text):
        raise ConfigError(f"{where}: not UTF-8", NAME_REMEDY)
    if not text.strip():
        raise ConfigError(f"{where}: is empty", "Name a file or folder; a field that is optional can be left out.")
    if "\0" in text:
        raise ConfigError(f"{where}: a path can't hold a NUL character", "Delete it.")
    if Path(text).parts[:1] == ("~",):
        raise ConfigError(f"{where}: ~ isn't your home folder here", "Write the folder in full.")


def _check_task(task: TaskConfig, origin: _Origin) -> None:
    """What the types alone can't say."""
    labels = f"{origin.of('task.labels')}task.labels"
    if task.family == "classification" and len(task.labels) == 1:
        raise ConfigError(
            f"{labels}: 1 label; classification needs 2 to 200",
            "Name all of them, or leave the field out: then those that the seeds have are taken.",
        )
    for label in task.labels:
        if not look(label) or label != label.strip():
            raise ConfigError(
                f"{labels}: {label!r} is empty or has blanks around it", "Write it as the data has it, without them."
            )
    for name in ("task.question_name", "task.answer_name"):
        text = getattr(task, name.removeprefix("task."))
        if not text.strip() or "\n" in text:
            raise ConfigError(
                f"{origin.of(name)}{name} = {toml_text(text)}: must be a word or a few on one line",
                'Such as "Message" or "Queue".',
            )
    if task.question_name == task.answer_name:
        raise ConfigError(
            f"{origin.of('task.question_name', 'task.answer_name')}task.question_name and task.answer_name are the "
            "same",
            'Call them by two words, such as "Message" and "Queue".',
        )
    repeated = sorted({label for label in task.labels if task.labels.count(label) > 1})
    if repeated:
        raise ConfigError(f"{labels}: {repeated[0]!r} is there more than once", "Name each label once.")
    if pair := alike(task.labels):
        raise ConfigError(
            f"{labels}: {pair[0]!r} and {pair[1]!r} look alike but differ: {difference(*pair)}",
            "Keep the one that the data has.",
        )


def _check_samples(config: Config, origin: _Origin) -> None:
    data = config.data
    for name, sample in (("sample", data.sample), ("dev_sample", data.dev_sample), ("test_sample", data.test_sample)):
        if sample and sample.draw == "balanced" and config.task.family not in ("classification", "multiple_choice"):
            raise ConfigError(
                f'{origin.of(f"data.{name}.draw")}data.{name}: draw = "balanced" takes as many rows of each label, and '
                f"answers of {config.task.family} are no labels",
                'Set draw = "plain".',
            )


def _check_loop(config: Config, origin: _Origin) -> None:
    loop = config.loop
    if recipe_of(config).matches_steps and loop.match_run is None:
        raise ConfigError(
            f'{origin.of("loop.recipe")}loop.recipe = "{loop.recipe}" needs loop.match_run, the run whose optimizer '
            "steps it has",
            "Set it to the id of a finished run of the same store; llm2llm status lists them.",
        )
    if loop.select == "best_dev" and config.data.dev is None:
        raise ConfigError(
            f'{origin.of("loop.select")}loop.select = "best_dev" needs data.dev, rows to choose the student by',
            'Name a file of rows that are neither seeds nor test rows, or set it to "last".',
        )


def _check_thresholds(config: Config, origin: _Origin) -> None:
    checks = config.checks
    if checks.reject_probability > checks.accept_probability:
        raise ConfigError(
            f"{origin.of('checks.reject_probability', 'checks.accept_probability')}checks.reject_probability = "
            f"{checks.reject_probability:g}: is above checks.accept_probability = {checks.accept_probability:g}",
            "What lies between them is in doubt; set both to the same value to have no doubts.",
        )


def _apply_override(document: dict[str, Any], override: str) -> str:
    """Set the field in `document`; its dotted name."""
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(
            f"--set {_short(override)}: expected section.key=value", "For example: --set loop.iterations=5"
        )
    try:
        value, *others = tomllib.loads(f"value = {text}").values()
    except (ValueError, RecursionError):
        value, others = text, []  # a bare word is a string: --set student.quantization=none
    if others:  # of further lines
        raise ConfigError(
            f"--set {_short(name.strip())}: has lines that set something else", "Give each field its own --set."
        )
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {_short(override)}: {_short(part)} is not a section", _ALL_FIELDS)
    table[parts[-1]] = value
    return ".".join(parts)


def _explain(item: Any, origin: _Origin) -> str:
    """One of pydantic's errors in the words of the file."""
    names = [part for part in item["loc"] if isinstance(part, str)]
    name = _short(".".join(names))
    where = f"{origin.of('.'.join(names))}{name}"
    if item["type"] == "extra_forbidden":
        meant = " or ".join(_meant(*names))
        return f"{where}: unknown key" + (f"; did you mean {meant}?" if meant else "")
    if item["type"] == "missing":
        return f"{where}: missing; it has no default"
    places = [part for part in item["loc"] if isinstance(part, int)]
    where += "".join(f", label {place + 1}" for place in places)  # the only list there is has labels
    value = _short(toml_text(item["input"]))
    if item["type"] == "model_type":
        return f"{where} = {value}: must be a table, such as [{name}] with its keys below"
    if reason := _REASONS.get(item["type"]):
        return f"{where} = {value}: {reason.format_map(item.get('ctx', {}))}"
    return f"{where} = {value}: {item['msg'].replace('Input should be', 'must be')}"


def _meant(*names: str) -> list[str]:
    """What an unknown key may stand for: the fields of its very name in other sections, else the nearest key in its own
    place, else the nearest fields anywhere; none where nothing is near.
    """
    *parents, unknown = names
    fields = [(section, key) for section, kind in sections() for key in kind.model_fields]
    same = [f"{section}.{key}" for section, key in fields if key == unknown]
    if same:
        return same
    if near := difflib.get_close_matches(unknown, _known_keys(parents), n=1):
        return [".".join([*parents, *near])]
    near = difflib.get_close_matches(unknown, [key for _, key in fields], n=1)
    return [f"{section}.{key}" for section, key in fields if key in near]


def _short(text: str) -> str:
    """As much of a name or a value as belongs in a message."""
    return cut(text, 100)


def _known_keys(parents: Sequence[str]) -> list[str]:
    models: dict[str, type[Section]] = {SampleConfig.__name__: SampleConfig, **dict(sections())}
    model: type[Section] = Config
    for part in parents:
        annotation = str(model.model_fields[part].annotation)
        model = next(kind for kind in models.values() if kind.__name__ in annotation)
    return list(model.model_fields)


def _with_absolute_paths(config: Config, base: Path) -> Config:
    changed = {}
    for section_name, section in config:
        paths = {key: base / value for key, value in section if isinstance(value, Path)}
        if paths:
            changed[section_name] = section.model_copy(update=paths)
    return config.model_copy(update=changed)
