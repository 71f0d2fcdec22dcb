"""ROUGE-L F between texts, over words: exact, among hundreds of thousands of texts.

With L the length of the longest common subsequence of words, ROUGE-L F (Lin 2004, β = 1) is
2·L / (words of a + words of b). Only comparisons that provably can't reach the threshold are left out; L itself is
computed in C++ (rapidfuzz).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from ..spelling import look, words_in

_CODE_POINTS = 0x110000
_UNKNOWN = 0
"""The number of all words that are in no text of an index: they have nothing in common with any."""

_Numbers = str | tuple[int, ...]
"""A text as the numbers of its words. As the characters of a string, while there are as many, since strings are
smallest and are compared soonest; a number and the character of that number are equal to rapidfuzz."""


def words(text: str) -> list[str]:
    """Lower-case words; a text without any (punctuation, emoji) is compared by its characters.

    Texts that look alike have the same words.
    """
    seen = look(text)
    return words_in(seen.lower()) or list(seen)


@dataclass(frozen=True, slots=True)
class Match:
    """The most similar text, and its ROUGE-L F (0 to 1)."""

    text: str
    score: float


@dataclass(slots=True)
class _SameLength:
    """The texts of one length in words, each listed under its `n_listed` rarest words."""

    n_listed: int
    texts: list[_Numbers] = field(default_factory=list)
    by_word: dict[int, list[_Numbers]] = field(default_factory=dict)

    def add(self, numbers: Sequence[int], packed: _Numbers) -> None:
        self.texts.append(packed)
        for number in set(sorted(numbers, reverse=True)[: self.n_listed]):
            self.by_word.setdefault(number, []).append(packed)

    def listed_under(self, numbers: Sequence[int]) -> list[list[_Numbers]]:
        """Lists that together have all texts listed under any of these words, in the order in which they came."""
        lists = [self.by_word[number] for number in set(numbers) if number in self.by_word]
        return lists if sum(map(len, lists)) < len(self.texts) else [self.texts]


class TextIndex:
    """A growing list of texts to compare with, and the ROUGE-L F (0 to 1) above which one counts as similar.

    Two bounds spare comparisons (Xiao et al. 2008, "Efficient Similarity Joins for Near Duplicate Detection", has
    them for sets). Texts of m and n words score 2·min(m, n) / (m + n) at most. And if they have L words in common,
    then one of the m − L + 1 rarest words of one is among the n − L + 1 rarest of the other. So texts are listed
    under their rarest words, and only what is listed under those of the text in question is compared. Any order of
    all words will do for "rarest": here, the higher number is the rarer word.
    """

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._least_score = math.nextafter(threshold, math.inf)
        counts = Counter(word for text in texts for word in words(text))
        self._number_of = {word: number for number, (word, _) in enumerate(counts.most_common(), _UNKNOWN + 1)}
        self._texts: list[str] = []  # of those with the same words the first alone
        self._place_of: dict[_Numbers, int] = {}
        self._of_length: dict[int, _SameLength] = {}
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        numbers = [self._number_of.setdefault(word, len(self._number_of) + 1) for word in words(text)]
        packed = _pack(numbers)
        if packed in self._place_of:
            return
        self._place_of[packed] = len(self._texts)
        self._texts.append(text)
        same_length = self._of_length.get(len(numbers))
        if same_length is None:
            same_length = self._of_length[len(numbers)] = _SameLength(_n_listed(len(numbers), self._least_score))
        same_length.add(numbers, packed)

    def nearest_above(self, text: str) -> Match | None:
        """The most similar text if its score is greater than the threshold, the first of equals; else None."""
        if self._least_score > 1:
            return None
        numbers = [self._number_of.get(word, _UNKNOWN) for word in words(text)]
        packed = _pack(numbers)
        place = self._place_of.get(packed)
        if place is not None:
            return Match(self._texts[place], 1.0)
        return self._nearest(numbers, packed)

    def _nearest(self, numbers: Sequence[int], packed: _Numbers) -> Match | None:
        """The same, of a text that isn't in the index word for word."""
        length = len(numbers)
        rarest = sorted((number for number in numbers if number != _UNKNOWN), reverse=True)
        n_unknown = length - len(rarest)
        best = (self._least_score, -len(self._texts))  # score, and place with its sign turned: the greatest wins
        for most, other_length in sorted(((_f(min(length, n), length + n), n) for n in self._of_length), reverse=True):
            if most < best[0]:
                break
            same_length, total = self._of_length[other_length], length + other_length
            common = _least_common(total, best[0])
            for texts in same_length.listed_under(rarest[: max(0, length - common + 1 - n_unknown)]):
                found = process.extractOne(packed, texts, scorer=LCSseq.similarity, processor=None, score_cutoff=common)
                if found is not None:
                    common = int(found[1])
                    best = max(best, (_f(common, total), -self._place_of[texts[found[2]]]))
        score, place = best[0], -best[1]
        return Match(self._texts[place], score) if place < len(self._texts) else None


def _pack(numbers: Sequence[int]) -> _Numbers:
    return "".join(map(chr, numbers)) if max(numbers, default=0) < _CODE_POINTS else tuple(numbers)


def _f(common: int, total: int) -> float:
    """ROUGE-L F of two texts of `total` words together with `common` in common, the nearest float."""
    return 2 * common / total


def _least_common(total: int, score: float) -> int:
    """How many words texts of `total` words together must have in common to score so much."""
    common = max(0, int(score * total / 2) - 1)  # one less than rounding could make too many
    while _f(common, total) < score:
        common += 1
    return common


def _n_listed(length: int, score: float) -> int:
    """How many of a text's rarest words suffice to find it from any other that scores so much with it.

    Such another has the common words at least, so that with `common` of them the score is 2·common / (common +
    length) at most.
    """
    least = next((common for common in range(1, length + 1) if _f(common, common + length) >= score), length + 1)
    return length - least + 1
