"""Every field of the configuration for people to read: `llm2llm config --help`, and the reference in the README.

Both come from the declarations in `config`, so neither can say anything else. The README's lies between two marker
lines; `python -m llm2llm_local.config_reference README.md` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from .config import FieldDoc, field_docs

BEGINS, ENDS = "<!-- config reference begins -->", "<!-- config reference ends -->"


def terminal_reference() -> Iterator[tuple[str, str]]:
    """For each field its name with type, range and default, and its description."""
    for doc in field_docs():
        default = "required" if doc.default == "required" else f"default {doc.default}"
        yield f"{doc.name}  ({', '.join(part for part in (doc.type, doc.range, default) if part)})", doc.description


def markdown_reference() -> str:
    """A heading and a table for each section."""
    parts = []
    for section, docs in groupby(field_docs(), key=_section):
        rows = [_row(doc) for doc in docs]
        parts.append(
            f"### `[{section}]`\n\n| field | type and range | default | meaning |\n| --- | --- | --- | --- |\n"
        )
        parts.append("".join(f"{row}\n" for row in rows) + "\n")
    return "".join(parts).rstrip() + "\n"


def with_reference(readme: str) -> str:
    """The README's text with the reference between its markers as it is now. Raises ValueError without markers."""
    before, rest = readme.split(f"{BEGINS}\n", maxsplit=1)
    _, after = rest.split(f"{ENDS}\n", maxsplit=1)
    return f"{before}{BEGINS}\n\n{markdown_reference()}\n{ENDS}\n{after}"


def _section(doc: FieldDoc) -> str:
    return doc.name.partition(".")[0]


def _row(doc: FieldDoc) -> str:
    default = doc.default if doc.default in ("required", "not set") else f"`{doc.default}`"
    meaning = doc.description if doc.affects_results else f"{doc.description} Changes no result."
    cells = (f"`{doc.name}`", ", ".join(filter(None, (_type(doc), doc.range))), default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(doc: FieldDoc) -> str:
    """A word such as integer, or the values there are: a bar between them would end the table's cell."""
    *others, last = doc.type.split(" | ")
    if not others:
        return last
    return f"{', '.join(f'`{choice}`' for choice in others)} or {last if last == 'integer' else f'`{last}`'}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(with_reference(readme.read_text(encoding="utf-8")), encoding="utf-8")
