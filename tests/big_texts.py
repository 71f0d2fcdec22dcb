"""Texts of seven kinds, as people and models write them: short and long, in several scripts, some of them hostile."""

from __future__ import annotations

import random

LABELS = ("person", "place", "number", "time", "reason", "thing", "opinion")

_OPENINGS = {
    "person": ("Who wrote", "Who painted", "Which engineer designed", "Who was the first to see"),
    "place": ("Where is", "In which town stands", "Where did they build", "Where can I find"),
    "number": ("How many people visit", "How much does a ticket cost for", "How old is", "How high is"),
    "time": ("When was", "In which year did they open", "When does the last train leave for", "How long ago was"),
    "reason": ("Why do people love", "Why was", "What is the reason for", "Why did they close"),
    "thing": ("What is kept in", "Which tool is used for", "What lies behind", "What is the name of"),
    "opinion": ("I was disappointed by", "Nobody should miss", "I would gladly return to", "Far too loud:"),
}
_SUBJECTS = (
    "the old bridge",
    "the harbour library",
    "the longest river of the north",
    "the museum of clocks",
    "the village theatre",
    "the night market",
    "the observatory on the hill",
    "the railway through the mountains",
    "the garden of the painters",
    "the winter fair",
    "the letter that was never sent",
    "the lighthouse keeper's daughter",
)
_ENDINGS = ("", " in the spring", " before the war", " on a Sunday", ", and for whom", " after the great flood of 1953")
_UNUSUAL = (
    "図書館はどこにありますか？",
    "这座桥是谁设计的？它有多少年历史了？",
    "도서관은 언제 문을 여나요?",
    "أين تقع المكتبة القديمة؟",
    "מי כתב את הספר הראשון על הכוכבים?",
    "Wie viele Gäste faßt das Theater „Zur Brücke“?",
    "क्या यह पुल पुराना है?",
    "Was it 🎉👩‍🚀🇮🇸 or ☃︎?",
    "[bold red]not markup[/bold red] [/] [@click=app.bell]here[/]",
    "title\x1b[31m in red \x1b]0;owned\x07 and a bell\x08",
    "turned \u202eover\u202c here, and a soft\u00adhyphen",
    "two\nlines,\ta tab and a\rreturn",
    "e\u0301te\u0301 with combining marks, full ｗｉｄｔｈ",
    "averyverylongwordwithoutanyblank" * 8,
)


def text_of(rng: random.Random, label: str) -> str:
    """A text of this kind; one in thirty is unusual."""
    number = rng.randrange(100_000)
    if rng.randrange(30) == 0:
        return f"{_UNUSUAL[number % len(_UNUSUAL)]} {number}"
    opening = _OPENINGS[label][number % 4]
    # The number makes most texts differ.
    return f"{opening} {rng.choice(_SUBJECTS)}{rng.choice(_ENDINGS)}, room {number}?"
