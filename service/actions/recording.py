"""Recording answers: labels and skips, and what they change in the pool."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions.candidates import Moves, is_candidate, is_out
from service.actions.label_rows import Answer
from service.actions.programs import Programs
from service.catalog.sources import is_learnt, learns_from
from service.db.many import together
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

    @property
    def did_something(self) -> bool:
        """Whether a row was found good."""
        return self.created + self.updated + self.unchanged > 0


@dataclass(frozen=True, slots=True)
class Part:
    """Answers of one request, and where it is counted what they did; an atomic part is not recorded with a bad one."""

    answers: Sequence[Answer]
    recorded: Recorded
    atomic: bool = False


@dataclass(slots=True)
class _Gained:
    """What the counters of the pool gain; its own attributes are watched, which costs more than counting."""

    label_generation: int = 0
    labels_human: int = 0
    labels_automated: int = 0
    examples_labeled: int = 0
    examples_skipped: int = 0

    def give(self, pool: Pool) -> None:
        for counter in fields(self):
            gained = getattr(self, counter.name)
            if gained:
                setattr(pool, counter.name, getattr(pool, counter.name) + gained)
                setattr(self, counter.name, 0)


@dataclass(slots=True)
class _Standing:
    """How an example stands while answers for it are being recorded."""

    known: Known
    label_count: int
    skip_count: int


class Recorder:
    """Records answers in one transaction; the pool is locked. `finish` writes what is gathered over all of them.

    Of `programs` it takes what they may say; without them, answers are those of nobody else, or were checked before.
    """

    def __init__(
        self,
        session: Session,
        project: Project,
        pool: Pool,
        *,
        now: datetime,
        moves: Moves | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._session = session
        self._project_id = project.id
        self._overlap: int = project.annotation["overlap"]
        self._pool = pool
        self._now = now
        self._moves = moves or Moves()
        self._gained = _Gained()
        self._learn_from = learns_from(project.retraining)
        self._programs = programs
        self._decided: _Decided | None = None  # and not written

    def add(self, parts: Sequence[Part]) -> None:
        """Record some answers; no two of all are of one annotator for one example."""
        with together(self._session):
            self._write()
        ids = list({answer.example_id for part in parts for answer in part.answers})
        known, leases = example_queries.find_promised(self._session, self._project_id, ids)
        answered = [key for key, found in known.items() if found.label_count or found.skip_count]
        current = {
            (label.example_id, label.annotator): label
            for label in queries.of_examples(self._session, self._project_id, answered)
        }
        good = self._without_bad(parts, known, current)
        if not good:
            return
        standings = {key: _Standing(found, found.label_count, found.skip_count) for key, found in known.items()}
        writes = _Writes(self._project_id, self._now)
        for answer, recorded in good:
            old = current.get((answer.example_id, answer.annotator))
            standing = standings[answer.example_id]
            change = writes.decide(answer, old)
            setattr(recorded, change, getattr(recorded, change) + 1)
            if change != "unchanged":
                self._count(answer, old, standing)
                if self._programs is not None:
                    self._programs.count(answer, old)
            elif _decides_tie(answer, old, standing):
                self._gained.label_generation += 1
        self._decided = _Decided([answer for answer, _ in good], standings, leases, writes)

    def finish(self) -> None:
        """Write what is left of the answers, the changes of the candidates and the counters."""
        with together(self._session):
            self._write()
            self._gained.give(self._pool)
            self._moves.write(self._session, self._pool)

    def _write(self) -> None:
        """Write the answers that were decided last: with what comes after them, when nothing is read meanwhile."""
        decided, self._decided = self._decided, None
        if decided is not None:
            decided.writes.flush(self._session)
            self._settle(decided.standings.values())
            self._end_leases(decided.answers, decided.standings, decided.leases)

    def forget(self, labels: Sequence[Any], known: Mapping[str, Known]) -> None:
        """Remove labels of some examples; they stay in the history."""
        queries.keep(self._session, labels, replaced_at=self._now)
        queries.remove(self._session, self._project_id, [label.id for label in labels])
        standings = {key: _Standing(found, found.label_count, found.skip_count) for key, found in known.items()}
        for label in labels:
            standing = standings[label.example_id]
            self._shift(standing, label, -1)
            self._gained.label_generation += trains(standing.known.split) and not label.skip and self._teaches(label)
        self._settle(standings.values())

    def _without_bad(
        self, parts: Sequence[Part], known: dict[str, Known], current: Mapping[tuple[str, str], Any]
    ) -> list[tuple[Answer, Recorded]]:
        wanted = list({answer.batch_id for part in parts for answer in part.answers if answer.batch_id is not None})
        batches = queries.known_batches(self._session, self._project_id, wanted)
        if self._programs is not None:
            self._programs.look(answer for part in parts for answer in part.answers)

        def problem(answer: Answer) -> FieldError | None:
            bad = _problem(answer, known, batches)
            if bad is None and self._programs is not None:
                bad = self._programs.problem(answer, current.get((answer.example_id, answer.annotator)))
            return None if bad is None else replace(bad, line=answer.line, id=answer.example_id)

        good = []
        for part in parts:
            problems = {i: bad for i, answer in enumerate(part.answers) if (bad := problem(answer))}
            part.recorded.errors.extend(problems.values())
            if not (problems and part.atomic):
                good += [(answer, part.recorded) for i, answer in enumerate(part.answers) if i not in problems]
        return good

    def _count(self, answer: Answer, old: Any, standing: _Standing) -> None:
        if old is not None:
            self._shift(standing, old, -1)
        self._shift(standing, answer, 1)
        if not trains(standing.known.split) or not (self._teaches(answer) or (old and self._teaches(old))):
            return
        if old is None:
            self._gained.label_generation += not answer.skip
        else:
            says_else = (old.value, old.skip) != (answer.value, answer.skip)
            self._gained.label_generation += says_else or _decides_tie(answer, old, standing)

    def _teaches(self, label: Any) -> bool:
        return is_learnt(self._learn_from, label.source, label.annotator)

    def _shift(self, standing: _Standing, label: Any, by: int) -> None:
        if label.skip:
            standing.skip_count += by
            return
        standing.label_count += by
        if label.source == "human":
            self._gained.labels_human += by
        else:
            self._gained.labels_automated += by

    def _settle(self, standings: Iterable[_Standing]) -> None:
        """Write the counts of the examples, and what follows from them for the pool."""
        changed = []
        for standing in standings:
            before, after = standing.known, standing
            if (before.label_count, before.skip_count) == (after.label_count, after.skip_count):
                continue
            counts = {"label_count": after.label_count, "skip_count": after.skip_count}
            changed.append({"example_id": before.example_id, **counts})
            self._gained.examples_labeled += (after.label_count > 0) - (before.label_count > 0)
            self._gained.examples_skipped += self._is_skipped(after) - self._is_skipped(before)
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

    def _end_leases(
        self,
        answers: Sequence[Answer],
        standings: Mapping[str, _Standing],
        leases: Mapping[str, Sequence[tuple[str, str | None]]],
    ) -> None:
        """End the leases that the answers were promised under, and all of examples that need no more answers."""
        ended: set[tuple[str, str]] = set()
        for answer in answers:
            counts, held = standings[answer.example_id], leases.get(answer.example_id, ())
            shared = counts.known.split != "gold"  # a question is answered by everybody
            enough = shared and (counts.label_count >= self._overlap or is_out(counts.skip_count, self._overlap))
            holders = [holder for holder, _ in held] if enough else _served(answer, held)
            ended.update((answer.example_id, holder) for holder in holders)
        queries.end_leases(self._session, self._project_id, sorted(ended))


def _decides_tie(answer: Answer, old: Any, standing: _Standing) -> bool:
    """Whether an answer that is given again may change the class of its example: of a tie, the newest one wins."""
    newer = answer.labeled_at is None or answer.labeled_at > old.labeled_at
    return newer and standing.label_count > 1 and not answer.skip and trains(standing.known.split)


def _problem(answer: Answer, known: Container[str], batches: Container[str]) -> FieldError | None:
    if answer.example_id not in known:
        return FieldError("/example_id", "unknown_example", "The project has no such example.")
    if answer.batch_id is not None and answer.batch_id not in batches:
        return FieldError("/batch_id", "unknown_batch", "The project has no such query.")
    return None


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
                self._again.append({"id": old.id, "labeled_at": at})
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
        queries.replace(session, self._project_id, self._replaced, self._changed)
        queries.said_again(session, self._project_id, self._again)


@dataclass(frozen=True, slots=True)
class _Decided:
    """Good answers, how their examples stand with them, who was promised these, and what they write to the labels."""

    answers: Sequence[Answer]
    standings: Mapping[str, _Standing]
    leases: Mapping[str, Sequence[tuple[str, str | None]]]
    writes: _Writes


def trains(split: str) -> bool:
    """Whether labels of this split are trained on: those of test rows only measure, and call for no training."""
    return split == "pool"
