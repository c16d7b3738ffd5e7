"""Recording answers: labels and skips, and what they change in the pool."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions.candidates import Moves, is_candidate, is_out
from service.actions.label_rows import Answer
from service.db.queries import examples as example_queries
from service.db.queries import labels as queries
from service.db.queries.examples import Known
from service.db.tables import Pool, Project
from service.db.types import new_id
from service.errors import FieldError


@dataclass(slots=True)
class Recorded:
    """What a request's answers did."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    errors: list[FieldError] = field(default_factory=list)


@dataclass(slots=True)
class _Standing:
    """How an example stands while answers for it are being recorded."""

    known: Known
    label_count: int
    skip_count: int


class Recorder:
    """Records answers in one transaction; the pool is locked. `finish` writes what is gathered over all of them."""

    def __init__(
        self, session: Session, project: Project, pool: Pool, *, now: datetime, moves: Moves | None = None
    ) -> None:
        self._session = session
        self._project_id = project.id
        self._overlap: int = project.annotation["overlap"]
        self._pool = pool
        self._now = now
        self._moves = moves or Moves()
        self.recorded = Recorded()

    def add(self, answers: Sequence[Answer]) -> None:
        """Record some answers; no two are of one annotator for one example."""
        ids = list({answer.example_id for answer in answers})
        known = example_queries.find(self._session, self._project_id, ids)
        answers = self._without_bad(answers, known)
        if not answers:
            return
        standings = {key: _Standing(found, found.label_count, found.skip_count) for key, found in known.items()}
        current = {
            (label.example_id, label.annotator): label
            for label in queries.of_examples(self._session, self._project_id, ids)
        }
        writes = _Writes(self._project_id, self._now)
        for answer in answers:
            old = current.get((answer.example_id, answer.annotator))
            self._count(writes.decide(answer, old), answer, old, standings[answer.example_id])
        writes.flush(self._session)
        self._settle(standings.values())
        self._end_leases(answers, standings)

    def finish(self) -> Recorded:
        """Write the changes of the candidates and the counters."""
        self._moves.write(self._session, self._pool)
        return self.recorded

    def forget(self, labels: Sequence[Any], known: Known) -> None:
        """Remove labels of one example; they stay in the history."""
        queries.keep(self._session, labels, replaced_at=self._now)
        queries.remove(self._session, [label.id for label in labels])
        standing = _Standing(known, known.label_count, known.skip_count)
        for label in labels:
            self._shift(standing, label, -1)
            self._pool.label_generation += trains(known.split) and not label.skip
        self._settle([standing])

    def _without_bad(self, answers: Sequence[Answer], known: dict[str, Known]) -> list[Answer]:
        wanted = list({answer.batch_id for answer in answers if answer.batch_id is not None})
        batches = queries.known_batches(self._session, self._project_id, wanted)
        good = []
        for answer in answers:
            if answer.example_id not in known:
                self._bad(answer, "/example_id", "unknown_example", "The project has no such example.")
            elif answer.batch_id is not None and answer.batch_id not in batches:
                self._bad(answer, "/batch_id", "unknown_batch", "The project has no such query.")
            else:
                good.append(answer)
        return good

    def _bad(self, answer: Answer, pointer: str, code: str, detail: str) -> None:
        self.recorded.errors.append(FieldError(pointer, code, detail, line=answer.line, id=answer.example_id))

    def _count(self, change: str, answer: Answer, old: Any, standing: _Standing) -> None:
        setattr(self.recorded, change, getattr(self.recorded, change) + 1)
        if change == "unchanged":
            return
        if old is not None:
            self._shift(standing, old, -1)
        self._shift(standing, answer, 1)
        if not trains(standing.known.split):
            return
        if old is None:
            self._pool.label_generation += not answer.skip
        else:
            self._pool.label_generation += (old.value, old.skip) != (answer.value, answer.skip)

    def _shift(self, standing: _Standing, label: Any, by: int) -> None:
        if label.skip:
            standing.skip_count += by
            return
        standing.label_count += by
        if label.source == "human":
            self._pool.labels_human += by
        else:
            self._pool.labels_automated += by

    def _settle(self, standings: Iterable[_Standing]) -> None:
        """Write the counts of the examples, and what follows from them for the pool."""
        changed = []
        for standing in standings:
            before, after = standing.known, standing
            if (before.label_count, before.skip_count) == (after.label_count, after.skip_count):
                continue
            counts = {"label_count": after.label_count, "skip_count": after.skip_count}
            changed.append({"example_id": before.example_id, **counts})
            self._pool.examples_labeled += (after.label_count > 0) - (before.label_count > 0)
            self._pool.examples_skipped += self._is_skipped(after) - self._is_skipped(before)
            stays = self._is_candidate(before.split, after)
            if stays != self._is_candidate(before.split, before):
                self._moves.add(before.row, value=stays)
        example_queries.change(self._session, self._project_id, changed)

    def _is_skipped(self, counts: Known | _Standing) -> bool:
        return counts.label_count == 0 and is_out(counts.skip_count, self._overlap)

    def _is_candidate(self, split: str, counts: Known | _Standing) -> bool:
        return is_candidate(
            split=split, label_count=counts.label_count, skip_count=counts.skip_count, overlap=self._overlap
        )

    def _end_leases(self, answers: Sequence[Answer], standings: dict[str, _Standing]) -> None:
        """End the leases that the answers were promised under, and all of examples that need no more answers."""
        by_example: dict[str, list[Answer]] = {}
        for answer in answers:
            by_example.setdefault(answer.example_id, []).append(answer)
        leases: dict[str, list[tuple[str, str | None]]] = {}
        for example_id, holder, annotator in queries.leases_of(self._session, self._project_id, list(by_example)):
            leases.setdefault(example_id, []).append((holder, annotator))
        ended: set[tuple[str, str]] = set()
        for example_id, held in leases.items():
            counts = standings[example_id]
            if counts.label_count >= self._overlap or is_out(counts.skip_count, self._overlap):
                ended.update((example_id, holder) for holder, _ in held)
            else:
                ended.update(
                    (example_id, holder) for answer in by_example[example_id] for holder in _served(answer, held)
                )
        queries.end_leases(self._session, self._project_id, sorted(ended))


def _served(answer: Answer, held: Sequence[tuple[str, str | None]]) -> list[str]:
    """The holders whose promise an answer fulfils: the annotator's own, else a batch that named no annotator."""
    own = [holder for holder, annotator in held if answer.annotator and annotator == answer.annotator]
    return own or [holder for holder, annotator in held if annotator is None and answer.batch_id in {None, holder}]


class _Writes:
    """What a group of answers writes to the labels."""

    def __init__(self, project_id: str, now: datetime) -> None:
        self._project_id = project_id
        self._now = now
        self._new: list[dict[str, Any]] = []
        self._replaced: list[Any] = []
        self._changed: list[dict[str, Any]] = []
        self._again: list[dict[str, Any]] = []

    def decide(self, answer: Answer, old: Any) -> str:
        """Whether the answer is `created`, `updated` or `unchanged`."""
        at = answer.labeled_at or self._now
        if old is None:
            values = {"id": new_id("lbl"), "project_id": self._project_id, "created_at": self._now}
            key = {"example_id": answer.example_id, "annotator": answer.annotator}
            self._new.append({**values, **key, **self._values(answer, at)})
            return "created"
        told = old.labeled_at
        if at < told:
            return "unchanged"
        if (old.value, old.skip, old.source) == (answer.value, answer.skip, answer.source):
            if at > told:
                self._again.append({"of_label": old.id, "at": at})
            return "unchanged"
        self._replaced.append(old)
        self._changed.append({"id": old.id, **self._values(answer, at)})
        return "updated"

    def _values(self, answer: Answer, at: datetime) -> dict[str, Any]:
        return {
            "value": answer.value,
            "skip": answer.skip,
            "source": answer.source,
            "batch_id": answer.batch_id,
            "labeled_at": at,
            "updated_at": self._now,
        }

    def flush(self, session: Session) -> None:
        """Write it."""
        queries.add(session, self._new)
        queries.replace(session, self._replaced, self._changed)
        queries.said_again(session, self._again)


def trains(split: str) -> bool:
    """Whether labels of this split are trained on: those of test rows only measure, and call for no training."""
    return split == "pool"
