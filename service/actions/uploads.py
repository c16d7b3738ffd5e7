"""Uploads of examples: read and checked with no transaction open, then stored at once."""

from collections.abc import Callable
from contextlib import nullcontext

from sqlalchemy.orm import Session

from service.actions import bulk, example_rows, large_uploads, programs, projects
from service.actions.bulk import BulkRequest, Outcome, RowErrors, RowSpool
from service.actions.contents import content_of
from service.actions.example_rows import StoredRow
from service.actions.fields import add_fields
from service.actions.label_values import Labels
from service.actions.storing import Store, check_annotators
from service.codecs.bodies import column_types, decode_examples
from service.codecs.csv_types import ColumnType
from service.db.queries import projects as project_queries
from service.db.tables import Project
from service.settings import MIB
from service.storage.chunks import ChunkWriter

# what is stored in one short transaction; anything larger goes in by slices
_SMALL_ROWS = 1000
_SMALL_BYTES = 16 * MIB


def submit(request: BulkRequest, *, keep: Callable[[Session, Outcome], None]) -> Outcome:
    """Check a body of examples and store it; `keep` is called in the transaction that makes it visible."""
    with request.read() as session:
        project = projects.get(session, request.project_id)
        taken = programs.names(session, project.id)
    dimensions = example_rows.dimensions_of(project)
    with (
        RowErrors(request.objects) as errors,
        RowSpool(StoredRow, request.settings.spool_dir) as spool,
        ChunkWriter(request.objects, columns=dimensions) if dimensions else nullcontext() as vectors,
    ):
        types = _column_types(request, project, dimensions)
        blocks = decode_examples(
            request.body,
            request.media,
            dimensions=dimensions,
            limits=request.limits,
            spool_dir=request.settings.spool_dir,
            types=types,
        )
        labels = Labels(project.task, textual=request.media.format == "csv")
        found = example_rows.read(blocks, project, labels, programs=taken, spool=spool, vectors=vectors, errors=errors)
        if errors.count and request.mode == "atomic":
            raise bulk.reject(request, errors, received=found.received)
        errors.put(request.project_id)

        def complete(session: Session, stored: Outcome) -> Outcome:
            """Fill in the outcome and keep it, in the transaction of the effect."""
            add_fields(project_queries.pool(session, project.id), found.fields)
            stored.received, stored.rejected, stored.errors = found.received, errors.count, errors.first
            stored.errors_url = errors.save(session, request.project_id, now=request.clock())
            stored.columns = types
            keep(session, stored)
            return stored

        size = spool.bytes + 4 * (dimensions or 0) * spool.rows
        if spool.rows < _SMALL_ROWS and size < _SMALL_BYTES:
            return _store_small(request, project, spool, vectors, complete)
        return large_uploads.store(request, project, spool, vectors, complete=complete)


def _column_types(request: BulkRequest, project: Project, dimensions: int | None) -> dict[str, ColumnType] | None:
    """The types of the columns of CSV; what features are read from is what the project says, whatever it looks like."""
    types = column_types(request.body, request.media, dimensions=dimensions, limits=request.limits)
    if types is not None:
        types.update({name: kind for name, kind in content_of(project).column_types.items() if name in types})
    return types


def _store_small(
    request: BulkRequest,
    checked: Project,
    spool: RowSpool[StoredRow],
    vectors: ChunkWriter | None,
    complete: Callable[[Session, Outcome], Outcome],
) -> Outcome:
    with request.write() as session:
        project, pool = projects.lock_as_read(session, checked)
        store = Store(session, project, pool, now=request.clock())
        done = 0
        for rows in spool.frames():
            packed = [] if vectors is None else [one.tobytes() for one in vectors.block(done, done + len(rows))]
            check_annotators(session, pool, rows)
            store.add(rows, packed)
            done += len(rows)
        return complete(session, store.finish(share=request.share))
