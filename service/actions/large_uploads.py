"""Large uploads: rows go in by slices that nobody sees, and one tiny transaction publishes them.

The upload holds the pool for itself under a lease. New examples are inserted under its id and stay invisible; rows
whose example exists already are staged, and applied by slices once the new ones are published. A process that dies
leaves an upload that `recover` removes (it was not published) or completes (it was).
"""

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from service.actions import candidates, projects, trainings
from service.actions.arrays import add_chunk
from service.actions.bulk import BulkRequest, Outcome, RowSpool
from service.actions.candidates import is_candidate
from service.actions.example_rows import StoredRow
from service.actions.recording import trains
from service.actions.storing import Store, check_annotators, new_examples
from service.db.queries import examples as queries
from service.db.queries import labels as label_queries
from service.db.queries import uploads as upload_queries
from service.db.queries.projects import lock_pool
from service.db.tables import Pool, Project, Upload
from service.db.types import new_id
from service.errors import UnavailableError
from service.storage.chunks import Chunk, ChunkWriter, chunk_key, delete_chunk

Complete = Callable[[Session, Outcome], Outcome]

_SLICE = 10_000
_APPLIED_AT_ONCE = 1000
PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class _Hold:
    """An upload of this process, and the rows that are reserved for it."""

    id: str
    project_id: str
    start: int
    stop: int


def store(
    request: BulkRequest,
    project: Project,
    spool: RowSpool[StoredRow],
    vectors: ChunkWriter | None,
    *,
    complete: Complete,
) -> Outcome:
    """Store the rows of a large upload, with their vectors; `complete` is called in the transaction that publishes it.

    Raises:
        UnavailableError: another upload holds the pool for longer than PATIENCE_SECONDS.
    """
    hold = _begin(request, project, spool.rows)
    chunk: Chunk | None = None
    try:
        staging = _Staging(request, hold, vectors)
        for rows in _slices(spool):
            staging.add(rows)
        chunk = staging.finish_chunk()
        outcome = staging.publish(chunk, complete)
    except BaseException:
        if _discard(request, hold) and chunk is not None:
            delete_chunk(request.objects, chunk)
        raise
    finish(request)
    return outcome


def finish(request: BulkRequest) -> None:
    """Apply what a published upload into the project has staged, as its process may have died before it could.

    Whoever is told that an upload is done may change its examples again, and must not be overtaken by it.
    """
    while _apply_next(request):
        pass


def _begin(request: BulkRequest, project: Project, count: int) -> _Hold:
    """Wait for the pool, take it and reserve rows."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with request.write() as session:
            _, pool = projects.lock_as_read(session, project)
            now = request.clock()
            if pool.upload_id is None:
                return _take(session, pool, count, now=now, until=_until(request))
            abandoned = pool.upload_until is None or pool.upload_until <= now
            if abandoned:
                _recover_slice(session, pool, now=now, share=request.share)
        if not abandoned:
            if time.monotonic() >= deadline:
                detail = "Another large upload into this project is running."
                raise UnavailableError(detail, headers={"Retry-After": "10"})
            time.sleep(_POLL_SECONDS)


def _until(request: BulkRequest) -> datetime:
    """Until when the pool is held, unless the upload is heard of again."""
    return request.clock() + timedelta(seconds=request.settings.upload_lease_seconds)


def _take(session: Session, pool: Pool, count: int, *, now: datetime, until: datetime) -> _Hold:
    start, stop = pool.next_row, pool.next_row + count
    upload = Upload(
        id=new_id("upl"), project_id=pool.project_id, state="staging", start=start, stop=stop, created_at=now
    )
    session.add(upload)
    pool.next_row = stop
    pool.upload_id, pool.upload_until = upload.id, until
    session.flush()
    return _Hold(upload.id, pool.project_id, start, stop)


def _slices(spool: RowSpool[StoredRow]) -> Iterator[list[StoredRow]]:
    """The rows, about _SLICE at a time, or fewer where they are large."""
    return spool.frames(at_least=_SLICE)


class _Staging:
    """Puts the rows of an upload where nobody sees them, then publishes them."""

    def __init__(self, request: BulkRequest, hold: _Hold, vectors: ChunkWriter | None) -> None:
        self._request = request
        self._hold = hold
        self._vectors = vectors
        self._is_new = bytearray()  # a byte for each row
        self._outcome = Outcome()
        self._staged = 0
        self._labels = 0
        self._training_labels = 0
        self._candidates = bytearray()  # a byte for each new row

    def add(self, rows: Sequence[StoredRow]) -> None:
        """Put in a slice, in a transaction of its own."""
        with self._request.write() as session:
            now = self._request.clock()
            project, pool, _ = _held(session, self._hold)
            pool.upload_until = _until(self._request)
            check_annotators(session, pool, rows)
            # nobody else can have hidden examples, so a pool without visible ones need not be asked
            ids = [row.id for row in rows] if pool.examples else []
            known = queries.find(session, project.id, ids, hidden=True)
            new = [row.id not in known for row in rows]
            self._insert([row for row, is_new in zip(rows, new, strict=True) if is_new], session, project, now=now)
            for i, row in enumerate(rows):
                if not new[i]:
                    same = known[row.id].is_as(row.content_hash, row.gold)
                    self._stage(session, row, len(self._is_new) + i, same=same)
            session.flush()
        self._is_new.extend(new)

    def finish_chunk(self) -> Chunk | None:
        """The chunk of the vectors of the new examples."""
        keep = np.frombuffer(self._is_new, dtype=np.bool_)
        if self._vectors is None or not keep.any():
            return None
        key = chunk_key(self._hold.project_id, "vectors", self._hold.start)
        return self._vectors.finish(key, array="vectors", start=self._hold.start, keep=keep)

    def _insert(self, rows: Sequence[StoredRow], session: Session, project: Project, *, now: datetime) -> None:
        first = self._hold.start + len(self._candidates)
        overlap: int = project.annotation["overlap"]
        counts = [int(row.label is not None) for row in rows]
        examples = new_examples(rows, first, counts)
        queries.add(session, project.id, examples, upload_id=self._hold.id, now=now)
        labels = [_label(project.id, row, now=now) for row in rows if row.label is not None]
        label_queries.add(session, labels)
        self._candidates += bytes(
            is_candidate(split=row.split, label_count=count, skip_count=0, overlap=overlap)
            for row, count in zip(rows, counts, strict=True)
        )
        self._outcome.created += len(rows)
        self._labels += len(labels)
        self._training_labels += sum(row.label is not None and trains(row.split) for row in rows)

    def _stage(self, session: Session, row: StoredRow, position: int, *, same: bool) -> None:
        """Keep a row whose example exists, unless there is nothing new in it."""
        if same:
            self._outcome.unchanged += 1
        else:
            self._outcome.updated += 1
        if same and row.label is None:
            return
        vector = b"" if self._vectors is None else self._vectors.block(position, position + 1).tobytes()
        content = {"row": msgspec.to_builtins(row), "vector": base64.b64encode(vector).decode()}
        upload_queries.stage(session, [{"upload_id": self._hold.id, "position": self._staged, "content": content}])
        self._staged += 1

    def publish(self, chunk: Chunk | None, complete: Complete) -> Outcome:
        """Make the new examples visible, all at once."""
        with self._request.write() as session:
            now = self._request.clock()
            project, pool, upload = _held(session, self._hold)
            upload.state = "publishing"
            pool.upload_until = _until(self._request)
            if chunk is not None:
                pool.chunk_generation += 1
                add_chunk(session, pool.project_id, chunk, generation=pool.chunk_generation)
            mask = np.frombuffer(self._candidates, dtype=np.bool_)
            candidates.enter(session, pool, self._hold.start, mask)
            pool.examples += self._outcome.created
            if self._labels:
                pool.examples_labeled += self._labels
                pool.labels_human += self._labels
                pool.label_generation += self._training_labels
                session.flush()
                trainings.after_labels(session, project, pool, now=now, share=self._request.share)
            if not self._staged:
                _end(pool, upload)
            session.flush()
            return complete(session, self._outcome)


def _label(project_id: str, row: StoredRow, *, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("lbl"),
        "project_id": project_id,
        "example_id": row.id,
        "annotator": row.annotator,
        "value": row.label,
        "skip": False,
        "source": "human",
        "batch_id": None,
        "labeled_at": now,
        "created_at": now,
        "updated_at": now,
    }


def _held(session: Session, hold: _Hold) -> tuple[Project, Pool, Upload]:
    """The project, its pool, locked, and the upload.

    Raises:
        NotFoundError: the project was deleted meanwhile.
        UnavailableError: this process was silent for so long that others began to remove the upload.
    """
    project, pool = projects.lock(session, hold.project_id)
    upload = upload_queries.get(session, hold.id)
    # whoever removes an upload takes its rows away from the end
    if pool.upload_id != hold.id or upload is None or upload.stop != hold.stop:
        raise UnavailableError("The upload was interrupted for too long; send it again.", headers={"Retry-After": "1"})
    return project, pool, upload


def _end(pool: Pool, upload: Upload) -> None:
    upload.state = "published"
    pool.upload_id = pool.upload_until = None


def _apply_next(request: BulkRequest) -> bool:
    """Apply a slice of what is staged; false when nothing is."""
    with request.read() as session:
        if not upload_queries.is_publishing(session, request.project_id):
            return False
    with request.write() as session:
        _, pool = projects.lock(session, request.project_id)
        upload = upload_queries.get(session, pool.upload_id or "")
        if upload is not None and upload.state == "publishing":
            pool.upload_until = _until(request)
            _apply_slice(session, pool, upload, now=request.clock(), share=request.share)
    return True


def _discard(request: BulkRequest, hold: _Hold) -> bool:
    """Remove an upload that failed; false when it was published already, and is completed by `recover`."""
    while True:
        with request.write() as session:
            try:
                pool = lock_pool(session, hold.project_id)
            except NoResultFound:
                return True  # it went with its project
            upload = upload_queries.get(session, hold.id)
            if upload is None:
                return True
            if pool.upload_id != hold.id:
                return False
            if upload.state != "staging":
                return False
            _remove_slice(session, pool, upload)


def recover(session: Session, *, now: datetime, share: int) -> bool:
    """Remove or complete a slice of an upload whose process died; false when there is none.

    To be called in a transaction of its own, again and again.
    """
    project_id = upload_queries.abandoned(session, now)
    if project_id is None:
        return False
    pool = lock_pool(session, project_id)
    if pool.upload_until is not None and pool.upload_until <= now:
        _recover_slice(session, pool, now=now, share=share)
    return True


def _recover_slice(session: Session, pool: Pool, *, now: datetime, share: int) -> None:
    upload = upload_queries.get(session, pool.upload_id or "")
    if upload is None:
        pool.upload_id = pool.upload_until = None
    elif upload.state == "staging":
        _remove_slice(session, pool, upload)
    else:
        _apply_slice(session, pool, upload, now=now, share=share)
    session.flush()


def _remove_slice(session: Session, pool: Pool, upload: Upload) -> None:
    """Remove some rows, from the end; when none are left, the upload."""
    if upload.stop > upload.start:
        start = max(upload.start, upload.stop - _SLICE)
        upload_queries.remove_rows(session, upload, start=start, stop=upload.stop)
        upload.stop = start
    elif not upload_queries.drop_staged(session, upload.id, limit=_SLICE):
        session.delete(upload)
        pool.upload_id = pool.upload_until = None
    session.flush()


def _apply_slice(session: Session, pool: Pool, upload: Upload, *, now: datetime, share: int) -> None:
    """Apply some of the staged rows; when none are left, the upload is done."""
    staged = upload_queries.staged(session, upload.id, limit=_APPLIED_AT_ONCE)
    if not staged:
        _end(pool, upload)
        return
    rows = [msgspec.convert(one.content["row"], StoredRow) for one in staged]
    vectors = [base64.b64decode(one.content["vector"]) for one in staged]
    applied = Store(session, projects.get(session, pool.project_id), pool, now=now)
    applied.add(rows, vectors if any(vectors) else [])
    applied.finish(share=share)
    upload_queries.drop_staged(session, upload.id, limit=_APPLIED_AT_ONCE)
