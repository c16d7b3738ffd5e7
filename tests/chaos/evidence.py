"""What the rules of the checker share: broken promises, and when a call may have taken effect."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tests.chaos.history import Record

Severity = Literal["lost", "duplicated", "wrong"]
Pair = tuple[str, str]
SKIP = "(skip)"


@dataclass(frozen=True)
class Violation:
    """A broken promise."""

    severity: Severity
    rule: str
    detail: str


@dataclass(frozen=True)
class Effect:
    """A call that took effect at a moment between `begun` and `ended`, or had none if it was refused.

    Without an answer `ended` is infinite: it may take effect whenever its server comes to it, or never.
    """

    key: str
    body: Any
    begun: float
    ended: float
    answer: Any

    @property
    def answered(self) -> bool:
        """Whether it is known that it took effect."""
        return self.ended < math.inf


@dataclass(frozen=True)
class Write:
    """What an effect made of one thing."""

    value: Any
    begun: float
    ended: float


def of(records: Iterable[Record], what: str) -> list[Record]:
    """The records of one sort."""
    return [record for record in records if record["what"] == what]


def calls(records: Iterable[Record], *ops: str) -> Iterator[tuple[Record, Record | None]]:
    """The calls of some sorts, each with its answer."""
    answers = {record["key"]: record for record in of(records, "answer") if record["op"] in ops}
    return ((call, answers.get(call["key"])) for call in of(records, "call") if call["op"] in ops)


def effects(records: Iterable[Record], *ops: str) -> list[Effect]:
    """What was not refused of some sorts, in the order of asking."""
    return [
        Effect(
            key=call["key"],
            body=call["body"],
            begun=call["at"],
            ended=answer["at"] if answer else math.inf,
            answer=answer["answer"] if answer else None,
        )
        for call, answer in calls(records, *ops)
        if answer is None or answer["status"] < 300
    ]


def answer_writes(records: Iterable[Record]) -> dict[Pair, list[Write]]:
    """What was answered for an example by an annotator, with labels, skips and the labels in uploads."""
    writes: dict[Pair, list[Write]] = defaultdict(list)
    for effect in effects(records, "label", "upload"):
        rows = effect.body["labels"] if "labels" in effect.body else labelled_rows(effect)
        for row in rows:
            value = SKIP if row.get("skip") else row["label"]
            writes[row["example_id"], row["annotator"]].append(Write(value, effect.begun, effect.ended))
    return writes


def labelled_rows(upload: Effect) -> list[dict[str, str]]:
    """The labels in an upload, as if they had been sent alone."""
    return [{**row, "example_id": row["id"]} for row in upload.body["examples"] if "label" in row]


def values(writes: Sequence[Write], *, begun: float, at: float) -> set[Any]:
    """What somebody may see who looks at a moment between `begun` and `at`; None: nothing."""
    before = [write for write in writes if write.ended <= begun]
    last = max(before, key=lambda write: write.ended, default=None)
    meanwhile = {write.value for write in writes if write.ended > begun and write.begun < at}
    return meanwhile | {last.value if last else None}


def batches(records: Iterable[Record]) -> dict[str, Any]:
    """The batches by their jobs."""
    return {batch["job_id"]: json.loads(batch["body"]) for batch in of(records, "batch")}


def tally(export: Record) -> tuple[Counter[str], Counter[str]]:
    """How many labels and how many skips the examples of an export have."""
    labels = Counter(example for example, _, value, _ in export["labels"] if value != SKIP)
    skips = Counter(example for example, _, value, _ in export["labels"] if value == SKIP)
    return labels, skips


def overlap_of(records: Iterable[Record]) -> int:
    """How many annotators an example of the project is for."""
    (project,) = of(records, "project")
    overlap: int = project["overlap"]
    return overlap


def seconds(time: str) -> float:
    """A time of the API, as the history writes it."""
    return datetime.fromisoformat(time).timestamp()
