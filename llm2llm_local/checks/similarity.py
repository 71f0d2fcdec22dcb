"""ROUGE-L F between texts, over words: exact, in C++ (rapidfuzz).

With L the length of the longest common subsequence of words, ROUGE-L F (Lin 2004, β = 1) is
2·L / (words of a + words of b), which is what the normalized Indel similarity computes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Indel

from ..spelling import look

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case words; a text without any (punctuation, emoji) is compared by its characters.

    Texts that look alike have the same words.
    """
    seen = look(text)
    return _WORD.findall(seen.lower()) or list(seen)


@dataclass(frozen=True, slots=True)
class Match:
    """The most similar text, and its ROUGE-L F (0 to 1)."""

    text: str
    score: float


class TextIndex:
    """A growing list of texts to compare with."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self._words = [words(text) for text in texts]

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._words.append(words(text))

    def nearest_above(self, text: str, threshold: float) -> Match | None:
        """The most similar text if its score is greater than `threshold`, the first of equals; else None."""
        found = process.extractOne(
            words(text), self._words, scorer=Indel.normalized_similarity, processor=None, score_cutoff=threshold
        )
        if found is None or found[1] <= threshold:
            return None
        return Match(self._texts[found[2]], found[1])
