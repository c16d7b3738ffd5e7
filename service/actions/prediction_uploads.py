"""Bring your own model: predictions of a model that Gleaner does not have, as versions of it.

Uploads of one name go into one open version until it is activated; the next upload of that name opens another. They
are read and checked with no transaction open, written as chunks, and put into the lists by one short transaction.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import bulk, projects
from service.actions.arrays import add_chunk, tidy_later
from service.actions.bulk import BulkRequest, Outcome, RowErrors
from service.actions.prediction_rows import BadRowError, Form, PredictionChecks, Said
from service.actions.prediction_spools import Spool, Written, named, write
from service.actions.predictions import Arrays, arrays_of, chunk_of, told_in
from service.catalog.tasks import classes_of, task_of
from service.codecs.blocks import Block
from service.codecs.bodies import decode_predictions
from service.codecs.rows import PredictionRow
from service.db.queries import arrays as array_queries
from service.db.queries import examples as example_queries
from service.db.queries import models as queries
from service.db.queries import projects as project_queries
from service.db.tables import Model, Pool, Project
from service.errors import ConflictError, DamagedObjectError, FieldError
from service.storage.chunks import Chunk, delete_chunk
from service.storage.objects import ObjectNotFoundError

_ROWS_AT_ONCE = 65_536


@dataclass(slots=True)
class Uploaded(Outcome):
    """What became of the rows of a body, and of which version they are now; `missing` rows of the pool have none."""

    model_version: int | None = None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class _Version:
    """The open version that an upload goes into, as it was read; none yet: its number is None."""

    number: int | None
    class_generation: int
    classes: list[str]
    form: Form | None
    chunks: dict[str, list[Chunk]]  # by field of `Arrays`


Complete = Callable[[Session, Uploaded], None]


def submit(request: BulkRequest, name: str, *, keep: Complete) -> Uploaded:
    """Check a body of predictions and store it; `keep` is called in the transaction that makes them visible.

    Raises:
        RowsRejectedError: Some rows are bad, and nothing is stored in mode `atomic`.
        ConflictError: Another upload opened the version meanwhile, for rows that hold something else.
    """
    with request.read() as session:
        project = projects.get(session, request.project_id)
        version = _read(session, project, name)
    checks = PredictionChecks(task_of(project.task), version.classes, version.form)
    outcome = Uploaded()
    with RowErrors(request.objects) as errors, Spool(request.objects) as spool:
        blocks = decode_predictions(
            request.body, request.media, limits=request.limits, spool_dir=request.settings.spool_dir
        )
        for block in blocks:
            outcome.received += block.received
            errors.add(_spool(request, block, checks, spool))
        if errors.count and request.mode == "atomic":
            raise bulk.reject(request, errors, received=outcome.received)
        outcome.rejected, outcome.errors = errors.count, errors.first
        errors.put(request.project_id)

        def complete(session: Session, stored: Uploaded) -> None:
            stored.errors_url = errors.save(session, request.project_id, now=request.clock())
            keep(session, stored)

        _store(request, name, version, checks.form, spool, outcome, complete=complete)
    return outcome


def _read(session: Session, project: Project, name: str) -> _Version:
    """The open version of a name for the present classes."""
    classes = classes_of(project.task)
    model = queries.find_open(session, project.id, name, classes=classes)
    if model is None:
        return _Version(None, project.class_generation, classes, None, {})
    names = arrays_of(model)
    rows = array_queries.live_chunks(session, project.id, arrays=names, generation=array_queries.LATEST)
    fields = dict(zip(names, Arrays._fields, strict=True))
    chunks: dict[str, list[Chunk]] = {field: [] for field in Arrays._fields}
    for row in rows:
        chunks[fields[row.array]].append(chunk_of(row))
    form = Form(model.members, model.dimensions or 0)
    return _Version(model.version, project.class_generation, classes, form, chunks)


def _spool(
    request: BulkRequest, block: Block[PredictionRow], checks: PredictionChecks, spool: Spool
) -> list[FieldError]:
    """Spool the good rows of a block; returns what is wrong with the others, by line."""
    with request.read() as session:
        known = example_queries.find(session, request.project_id, [row.id for row in block.rows])
    errors = block.errors
    rows: list[int] = []
    said: list[Said] = []
    for line, row in zip(block.lines, block.rows, strict=True):
        try:
            said.append(checks.read(row, known=row.id in known))
            rows.append(known[row.id].row)
        except BadRowError as error:
            errors.append(error.problem_at(line, row.id))
    spool.add(rows, said)
    return sorted(errors, key=lambda error: error.line or 0)


def _store(
    request: BulkRequest,
    name: str,
    version: _Version,
    form: Form | None,
    spool: Spool,
    outcome: Uploaded,
    *,
    complete: Complete,
) -> None:
    """Write what is spooled and put it into the version, again when another upload or a merge was faster.

    Raises:
        ConflictError: The other's rows hold something else.
        DamagedObjectError: A file of the version is lost.
    """
    lost = ""
    while True:
        try:
            now_open = _attempt(request, name, version, form, spool, outcome, complete=complete)
        except ObjectNotFoundError as error:  # a merge has deleted it, or somebody else
            if error.key == lost:
                raise DamagedObjectError(error.key, "it is lost.") from error
            lost = error.key
            with request.read() as session:
                now_open = _read(session, projects.get(session, request.project_id), name)
        if now_open is None:
            return
        classes_kept = (now_open.class_generation, now_open.classes) == (version.class_generation, version.classes)
        if not classes_kept or now_open.form not in {None, form}:
            detail = "Another upload, or a change of the classes, was faster. Send this one again."
            raise ConflictError(detail, headers={"Retry-After": "1"})
        version = now_open


def _attempt(
    request: BulkRequest,
    name: str,
    version: _Version,
    form: Form | None,
    spool: Spool,
    outcome: Uploaded,
    *,
    complete: Complete,
) -> _Version | None:
    """Write what is spooled and put it into the version, unless that is another by now: then returns it."""
    with _written(request, version, spool) as written:
        outcome.created, outcome.updated, outcome.unchanged = written.created, written.updated, written.unchanged
        outcome.missing = count_missing(request, version, written)
        with request.write() as session:
            project, pool = projects.lock(session, request.project_id)
            now_open = _read(session, project, name)
            if now_open != version:
                return now_open
            outcome.model_version = version.number
            if form is not None and written.made:
                outcome.model_version = _publish(session, request, pool, name, version, form, written)
            complete(session, outcome)
            # Before the commit, whose outcome may stay unknown: a listed file must not be deleted, another may stay.
            written.made.clear()
    return None


@contextmanager
def _written(request: BulkRequest, version: _Version, spool: Spool) -> Iterator[Written]:
    """What is spooled as chunks, which are deleted again unless they were published."""
    written = Written()
    try:
        if len(spool.rows):
            write(request.objects, request.project_id, spool, version.chunks, written)
        yield written
    finally:
        for _, chunk in written.made:
            delete_chunk(request.objects, chunk)


def _publish(
    session: Session,
    request: BulkRequest,
    pool: Pool,
    name: str,
    version: _Version,
    form: Form,
    written: Written,
) -> int:
    """Put chunks into the lists of the version, or of a new one; the pool is locked."""
    now = request.clock()
    if version.number is None:
        model = Model(
            project_id=pool.project_id,
            version=queries.newest(session, pool.project_id) + 1,
            job_id="",
            artifact_key="",
            labels_used=pool.examples_labeled,
            label_generation=pool.label_generation,
            labels_hash="",
            classes=version.classes,
            estimator={"name": "external", "params": {}},
            metrics={},
            created_at=now,
            name=name,
            open=True,
            members=form.members,
            dimensions=form.dimensions or None,
        )
        session.add(model)
    else:
        model = session.get_one(Model, (pool.project_id, version.number))
    pool.chunk_generation += 1
    session.flush()
    array_queries.retire(session, written.replaced, generation=pool.chunk_generation)
    for chunk in named(written.made, arrays_of(model)):
        add_chunk(session, pool.project_id, chunk, generation=pool.chunk_generation)
    # of what was replaced, and of what examples were deleted since their rows were read, nothing stays
    tidy_later(session, pool.project_id, now=now, share=request.share)
    return model.version


def count_missing(request: BulkRequest, version: _Version, written: Written) -> int:
    """How many rows of the pool have no prediction, those that are labelled already among them."""
    chunks = [chunk for name, chunk in written.made if name == "told"]
    chunks += [chunk for chunk in version.chunks.get("told", []) if chunk.key not in written.replaced]
    marks = [told_in(request.objects, chunk) for chunk in chunks]
    with request.read() as session:
        told = np.zeros(project_queries.pool(session, request.project_id).next_row, dtype=np.bool_)
        for chunk, marked in zip(chunks, marks, strict=True):
            told[chunk.start : chunk.stop] = marked
        starts = range(0, len(told), _ROWS_AT_ONCE)
        return sum(_missing_from(session, request.project_id, told[at : at + _ROWS_AT_ONCE], at) for at in starts)


def _missing_from(session: Session, project_id: str, told: NDArray[np.bool_], start: int) -> int:
    """How many of the rows from `start` on are of the pool and not told; rows are read only where some are told."""
    if told.all():
        return 0
    stop = start + len(told)
    if not told.any():
        return example_queries.count_pool_rows(session, project_id, start=start, stop=stop)
    rows = example_queries.pool_rows(session, project_id, start=start, stop=stop)
    return int(np.count_nonzero(~told[np.array(rows, dtype=np.int64) - start]))
