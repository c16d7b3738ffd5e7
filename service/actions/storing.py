"""Storing the rows of an upload in one transaction: small uploads, and what a large one changes of older examples."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions import arrays, programs, trainings
from service.actions.bulk import Outcome
from service.actions.candidates import Moves, is_candidate
from service.actions.example_rows import StoredRow
from service.actions.label_rows import Answer
from service.actions.recording import Part, Recorded, Recorder, trains
from service.db.queries import examples as queries
from service.db.queries.examples import Known, New
from service.db.tables import Pool, Project
from service.errors import ConflictError, UnavailableError

# loose vectors make reading slow; a merge turns them into a chunk
_MERGE_AT = 2000


class Store:
    """Stores rows of an upload; the pool is locked. `finish` once all rows of the transaction were added."""

    def __init__(self, session: Session, project: Project, pool: Pool, *, now: datetime) -> None:
        self._session = session
        self._project = project
        self._pool = pool
        self._now = now
        self._moves = Moves()
        self._recorder = Recorder(session, project, pool, now=now, moves=self._moves)
        self._generation = pool.label_generation
        self.outcome = Outcome()

    def add(self, rows: Sequence[StoredRow], vectors: Sequence[bytes]) -> None:
        """Store rows, whose ids are distinct, with their vectors (none, when features are no vectors)."""
        known = queries.find(self._session, self._project.id, [row.id for row in rows], hidden=True)
        self._check_published(known)
        placed = [(row, known.get(row.id), vectors[i] if vectors else None) for i, row in enumerate(rows)]
        new = [(row, vector) for row, old, vector in placed if old is None]
        changed = [
            (row, old, vector) for row, old, vector in placed if old and not old.is_as(row.content_hash, row.gold)
        ]
        self._create(new)
        self._move([(row, old, vector) for row, old, vector in changed if old.features_hash != row.features_hash])
        self._edit([(row, old) for row, old, _ in changed if old.features_hash == row.features_hash])
        self.outcome.created += len(new)
        self.outcome.updated += len(changed)
        self.outcome.unchanged += len(rows) - len(new) - len(changed)
        self._recorder.add([Part([answer_of(row) for row in rows if row.label is not None], Recorded())])

    def finish(self, *, share: int) -> Outcome:
        """Write the changes of the candidates and the counters; ask for the jobs that follow."""
        self._recorder.finish()
        if self._pool.label_generation != self._generation:
            trainings.after_labels(self._session, self._project, self._pool, now=self._now, share=share)
        if self._pool.loose_vectors > _MERGE_AT:
            arrays.merge(self._session, self._project.id, now=self._now, share=share)
        return self.outcome

    def _check_published(self, known: dict[str, Known]) -> None:
        uploads = {example.upload_id for example in known.values() if example.upload_id is not None}
        if uploads and not uploads.isdisjoint(queries.staging_uploads(self._session, self._project.id)):
            detail = "Some of these examples are in a large upload that is not finished."
            raise UnavailableError(detail, headers={"Retry-After": "5"})

    def _create(self, new: Sequence[tuple[StoredRow, bytes | None]]) -> None:
        first = self._take_rows([vector for _, vector in new])
        rows = [row for row, _ in new]
        made = new_examples(rows, first, [0] * len(rows))
        queries.add(self._session, self._project.id, made, upload_id=None, now=self._now)
        self._pool.examples += len(rows)
        for number, row in enumerate(rows, start=first):
            if row.split == "pool":
                self._moves.add(number, value=True)

    def _move(self, moved: Sequence[tuple[StoredRow, Known, bytes | None]]) -> None:
        """Give examples whose features changed new rows; the old ones become holes."""
        first = self._take_rows([vector for _, _, vector in moved])
        old_rows = [old.row for _, old, _ in moved]
        self._pool.loose_vectors -= queries.drop_vectors(self._session, self._project.id, old_rows)
        rows = {row.id: first + i for i, (row, _, _) in enumerate(moved)}
        queries.move_leases(self._session, self._project.id, rows)
        changes = [{**self._content(row), "row": rows[row.id]} for row, _, _ in moved]
        queries.change(self._session, self._project.id, changes)
        for row, old, _ in moved:
            self._count(row, old)
            self._moves.add(old.row, value=False)
            self._moves.add(rows[row.id], value=self._is_candidate(row.split, old))

    def _edit(self, edited: Sequence[tuple[StoredRow, Known]]) -> None:
        """Change what no model sees; the rows stay.

        Candidates count as new ones: their priority or group may be another, by which prepared rankings were made.
        """
        queries.change(self._session, self._project.id, [self._content(row) for row, _ in edited])
        for row, old in edited:
            if row.split != old.split:
                self._count(row, old)
            self._moves.add(old.row, value=self._is_candidate(row.split, old))

    def _count(self, row: StoredRow, old: Known) -> None:
        """What a model was trained on has changed: that counts as labels do."""
        if trains(old.split) or trains(row.split):
            self._pool.label_generation += old.label_count

    def _take_rows(self, vectors: Sequence[bytes | None]) -> int:
        """The first of new rows, one for each of the vectors, which are kept as blobs."""
        first = self._pool.next_row
        self._pool.next_row += len(vectors)
        loose = [(first + i, vector) for i, vector in enumerate(vectors) if vector is not None]
        queries.add_vectors(self._session, self._project.id, loose)
        self._pool.loose_vectors += len(loose)
        return first

    def _content(self, row: StoredRow) -> dict[str, Any]:
        return {
            "example_id": row.id,
            "data": row.data,
            "split": row.split,
            "group_name": row.group,
            "priority": row.priority,
            "gold": row.gold,
            "content_hash": row.content_hash,
            "features_hash": row.features_hash,
            "updated_at": self._now,
        }

    def _is_candidate(self, split: str, old: Known) -> bool:
        overlap: int = self._project.annotation["overlap"]
        return is_candidate(split=split, label_count=old.label_count, skip_count=old.skip_count, overlap=overlap)


def check_annotators(session: Session, pool: Pool, rows: Sequence[StoredRow]) -> None:
    """See that the labels of checked rows are still nobody's who is a program; the pool is locked.

    Raises:
        ConflictError: a program took the name of an annotator meanwhile.
    """
    annotators = {row.annotator for row in rows if row.label is not None}
    if pool.programs and not annotators.isdisjoint(programs.names(session, pool.project_id)):
        raise ConflictError("A program took the name of an annotator meanwhile. Send the request again.")


def new_examples(rows: Sequence[StoredRow], first: int, label_counts: Sequence[int]) -> New:
    """The examples of rows, at row numbers from the first one on."""
    return New(
        example_id=[row.id for row in rows],
        row=range(first, first + len(rows)),
        data=[row.data for row in rows],
        split=[row.split for row in rows],
        group_name=[row.group for row in rows],
        priority=[row.priority for row in rows],
        content_hash=[row.content_hash for row in rows],
        features_hash=[row.features_hash for row in rows],
        label_count=label_counts,
        gold=[row.gold for row in rows],
    )


def answer_of(row: StoredRow) -> Answer:
    """The label that came with a row."""
    return Answer(
        line=0,
        example_id=row.id,
        value=row.label,
        skip=False,
        annotator=row.annotator,
        source="human",
        batch_id=None,
        labeled_at=None,
    )
