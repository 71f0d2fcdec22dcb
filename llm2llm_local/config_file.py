"""The configuration file, read: TOML, with overrides from the command line.

What comes out of it is right as a whole: each key is known, each value is of its type and in its range, what belongs
together agrees, paths are absolute, what the recipe stands for is in force. What isn't is said with the file, the
field and the value, several mistakes at once.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
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
from .encoding import REMEDY, UNFIT_REMEDY, UTF16_REMEDY, is_utf8, is_utf16, unfit_character
from .errors import ConfigError
from .recipes import in_force, recipe_of
from .spelling import alike, difference, look

_PATHS = frozenset(
    f"{section}.{key}"
    for section, kind in (("data", DataConfig), ("teacher", TeacherConfig), ("student", StudentConfig))
    for key, field in kind.model_fields.items()
    if "Path" in str(field.annotation)
)
_RENAME = "Rename it: names of files and folders must be UTF-8."


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path`, apply `section.key=value` overrides, check everything.

    Relative paths in the file count from the file's folder, those in overrides too. Raises ConfigError for
    a missing or unreadable file, invalid TOML, an unknown key (with the nearest known one), a wrong type or
    a value out of range; several mistakes are reported together.
    """
    try:
        document = tomllib.loads(read_text(path, "Write one with: llm2llm init DIR"))
    except ValueError as error:  # TOMLDecodeError, or Python's own for an integer of thousands of digits
        is_twice = str(error).startswith(("Cannot declare", "Cannot overwrite"))
        remedy = "Each section and field may be there once: change it where it is." if is_twice else ""
        raise ConfigError(f"{path}: not valid TOML: {error}", remedy) from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None
    for override in overrides:
        _apply_override(document, override)
    if not is_utf8(str(path.resolve())):
        raise ConfigError(f"{path}: its path isn't UTF-8", _RENAME)
    return parse_config(document, source=str(path), base=path.resolve().parent)


def read_text(path: Path, remedy_if_missing: str) -> str:
    """The text of the configuration or of a file that it names. Raises ConfigError when there is none in UTF-8."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", remedy_if_missing) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder", "Name a file in it.") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    if is_utf16(raw):
        raise ConfigError(f"{path}: is UTF-16, not UTF-8", UTF16_REMEDY)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Of a file with a byte-order mark `error` counts from behind it, and has only what is behind it.
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not valid UTF-8", REMEDY) from None


def parse_config(document: dict[str, Any], source: str, base: Path) -> Config:
    """Check a parsed document; `source` names it in errors, relative paths count from `base`."""
    _check_texts(document, source)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        lines = [f"{source}: {_explain(item, document)}" for item in error.errors()]
        raise ConfigError("\n".join(lines), "All fields: llm2llm config --help") from None
    _check_task(config.task, source)
    if config.teacher.flash_attention == "off" and config.teacher.kv_cache not in ("auto", "f16"):
        raise ConfigError(
            f'{source}: teacher.kv_cache = "{config.teacher.kv_cache}" needs flash attention, which '
            "teacher.flash_attention turns off",
            'Set teacher.flash_attention = "auto", or teacher.kv_cache = "f16".',
        )
    if config.data.question_column == config.data.answer_column:
        raise ConfigError(f"{source}: data.question_column and data.answer_column are the same")
    _check_loop(config, source)
    _check_samples(config, source)
    return in_force(_with_absolute_paths(config, base))


def _check_texts(document: Mapping[str, Any], source: str) -> None:
    """No text has characters that can't be stored; none but a path, which is as it is on the disk, has control ones."""
    for section_name, section in document.items():
        for key, value in section.items() if isinstance(section, dict) else ():
            name = f"{section_name}.{key}"
            for text in value if isinstance(value, list) else [value]:
                if not isinstance(text, str):
                    continue
                if name in _PATHS:
                    if not is_utf8(text):
                        raise ConfigError(f"{source}: {name} = {_short(toml_text(text))}: not UTF-8", _RENAME)
                elif unfit := unfit_character(text):
                    raise ConfigError(f"{source}: {name}: has {unfit}", UNFIT_REMEDY)


def _check_task(task: TaskConfig, source: str) -> None:
    """What the types alone can't say."""
    if task.family == "classification" and len(task.labels) == 1:
        raise ConfigError(f"{source}: task.labels: 1 label; classification needs 2 to 200")
    for label in task.labels:
        if not look(label) or label != label.strip():
            raise ConfigError(f"{source}: task.labels: {label!r} is empty or has blanks around it")
    for name in ("question_name", "answer_name"):
        text = getattr(task, name)
        if not text.strip() or "\n" in text:
            raise ConfigError(f"{source}: task.{name} = {toml_text(text)}: must be a word or a few on one line")
    if task.question_name == task.answer_name:
        raise ConfigError(f"{source}: task.question_name and task.answer_name are the same")
    repeated = sorted({label for label in task.labels if task.labels.count(label) > 1})
    if repeated:
        raise ConfigError(f"{source}: task.labels: {repeated[0]!r} is there more than once")
    if pair := alike(task.labels):
        raise ConfigError(
            f"{source}: task.labels: {pair[0]!r} and {pair[1]!r} look alike but differ: {difference(*pair)}",
            "Keep the one that the data has.",
        )


def _check_samples(config: Config, source: str) -> None:
    data = config.data
    for name, sample in (("sample", data.sample), ("dev_sample", data.dev_sample), ("test_sample", data.test_sample)):
        if sample and sample.draw == "balanced" and config.task.family not in ("classification", "multiple_choice"):
            raise ConfigError(
                f'{source}: data.{name}: draw = "balanced" takes as many rows of each label, and answers of '
                f"{config.task.family} are no labels",
                'Set draw = "plain".',
            )


def _check_loop(config: Config, source: str) -> None:
    loop = config.loop
    if recipe_of(config).matches_steps and loop.match_run is None:
        raise ConfigError(
            f'{source}: loop.recipe = "{loop.recipe}" needs loop.match_run, the run whose optimizer steps it has',
            "Set it to the id of a finished run of the same store; llm2llm status lists them.",
        )
    if loop.select == "best_dev" and config.data.dev is None:
        raise ConfigError(
            f'{source}: loop.select = "best_dev" needs data.dev, rows to choose the student by',
            'Name a file of rows that are neither seeds nor test rows, or set it to "last".',
        )


def _apply_override(document: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(
            f"--set {_short(override)}: expected section.key=value", "For example: --set loop.iterations=5"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word is a string: --set student.quantization=none
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {_short(override)}: {part} is not a section")
    table[parts[-1]] = value


def _explain(item: Any, document: dict[str, Any]) -> str:
    location = _short(".".join(str(part) for part in item["loc"]))
    if item["type"] == "extra_forbidden":
        *parents, unknown = [str(part) for part in item["loc"]]
        known = _known_keys(parents)
        near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.0)
        return f"{location}: unknown key; did you mean {'.'.join([*parents, *near])}?"
    if item["type"] == "missing":
        return f"{location}: missing; it has no default"
    value = _short(toml_text(item["input"]))
    if item["type"] == "model_type":
        return f"{location} = {value}: must be a table, such as [{location}] with its keys below"
    reason = item["msg"].replace("valid tuple", "list")  # which a tuple is in TOML
    return f"{location} = {value}: {reason[0].lower()}{reason[1:]}"


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
        for key, path in paths.items():
            if "\0" in str(path):
                raise ConfigError(f"{section_name}.{key}: a path can't hold a NUL character")
        if paths:
            changed[section_name] = section.model_copy(update=paths)
    return config.model_copy(update=changed)
