"""The values that travel between the parts: frozen, compared by content, importing nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Split(StrEnum):
    """Which of the person's files an example belongs to. Augmented examples belong to `train`."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class Origin(StrEnum):
    """Who wrote an example: the person (`seed`) or the teacher (`augmented`)."""

    SEED = "seed"
    AUGMENTED = "augmented"


class Status(StrEnum):
    """State of a run, an iteration, a stage or a command."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """What grading says of a prediction. Only `correct` counts as right; the others say why not.

    `truncated`: the output hit its token limit before an answer was complete.
    `unparsed`: the output ended by itself but holds no answer in the task's format.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    TRUNCATED = "truncated"
    UNPARSED = "unparsed"


class Decision(StrEnum):
    """What a check, or a person, says of a candidate."""

    ACCEPT = "accept"
    DOUBT = "doubt"
    REJECT = "reject"


class ReviewDecision(StrEnum):
    """What a person says of a candidate. `withdraw`: what the person said before doesn't count, the checks do."""

    ACCEPT = "accept"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class FinishReason(StrEnum):
    """Why a model stopped writing. `scored`: nothing was written, fixed answers were scored."""

    STOP = "stop"
    LENGTH = "length"
    SCORED = "scored"


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of a data file, before it is in a store.

    `line`: 1-based line of the file on which the row starts; `source`: the file as the person named it.
    """

    question: str
    answer: str
    source: str
    line: int


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its gold answer, as stored.

    `key` names the example within its run and stays the same from run to run of the same data
    ("train/17", "augmented/2/train/17/0.1"); every random draw that concerns the example is derived from it.
    """

    id: int
    key: str
    split: Split
    origin: Origin
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote for one request, and what that cost.

    `input_tokens`, `output_tokens`: token counts; `seconds`: wall time spent on this request.
    """

    text: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Grade:
    """A graded prediction: the answer that was read out of the text (None when there is none)."""

    outcome: Outcome
    predicted_answer: str | None


@dataclass(frozen=True, slots=True)
class NewExample:
    """A question with its answer, read out of a teacher's reply."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A teacher's reply that holds no example; `reason` is short and the same for the same kind of defect."""

    reason: str


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """One check's word on one candidate.

    `reason` is short and the same for the same kind of defect, so that reasons can be counted; `detail`
    has the particulars. `score` is in the check's own unit (ROUGE-L F between 0 and 1 for `duplicate` and
    `leak`), None when the check has none.
    """

    check_name: str
    decision: Decision
    reason: str
    detail: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class TeacherPrompt:
    """What the teacher is shown: a chat, or (when `messages` is empty) a text to continue.

    `stop`: strings at which the teacher's text is cut.
    """

    messages: tuple[Message, ...]
    completion: str
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that new ones are made for: as a rule one that the student got wrong. `predicted_answer`: what it
    answered instead; None, if that was unreadable or the right answer.
    """

    example: Example
    predicted_answer: str | None


@dataclass(frozen=True, slots=True)
class Ballot:
    """A question to the teacher by which it votes on a new example.

    `choices`: what may follow the prompt, each to be scored; `answers`: which answer each stands for, where that is not
    itself, as of options in another order; `intended`: the choice that speaks for the example. Without choices (empty,
    and `intended` None) the teacher writes, and the task reads what that says.
    """

    prompt: TeacherPrompt
    choices: tuple[str, ...]
    intended: str | None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vote:
    """What a verifier said to one ballot.

    `said`: its answer, None when none could be read; `scores`: the log-probability of each choice among all of them, in
    nats, and `intended` the one that speaks for the example; `agrees`, of a written answer, whether it is the example's
    (None: none could be read, or it was scored); `output_text`: what was written.
    """

    said: str | None
    scores: Mapping[str, float]
    intended: str | None
    agrees: bool | None
    output_text: str


TOGETHER = "together"
"""The verifier of an audit by which candidates are judged: all those that vote."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share (0 to 1) with the bounds of its 95% interval."""

    share: float
    low: float
    high: float
