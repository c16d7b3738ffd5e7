"""The chunk lists of a project's arrays, and their upkeep, asked for by what changes them."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.actions import digests, jobs
from service.actions.outdated import outdate
from service.actions.predictions import chunk_of
from service.db.queries import arrays
from service.db.queries import jobs as queries
from service.db.tables import Chunk as ChunkRow
from service.queue.messages import MergeMessage
from service.storage.artifacts import encoder_key, is_fitted
from service.storage.chunks import Chunk

_SOON = timedelta(seconds=60)


def merge(session: Session, project_id: str, *, now: datetime, share: int) -> None:
    """Have loose vectors written into a chunk, unless a job waits that will."""
    _ask(session, project_id, now=now, share=share, delay=timedelta(0))


def tidy_later(session: Session, project_id: str, *, now: datetime, share: int) -> None:
    """Have the numbers of deleted examples zeroed and the files of retired chunks deleted in about a minute.

    Those that are deleted or retired until then are among them.
    """
    _ask(session, project_id, now=now, share=share, delay=_SOON)


def collect(session: Session, project_id: str, *, limit: int) -> None:
    """Forget some of the retired chunks that no running job reads any more, and have their files deleted."""
    oldest = queries.oldest_pinned_generation(session, project_id)
    found = [chunk_of(row) for row in arrays.take_unused(session, project_id, oldest=oldest, limit=limit)]
    for key in (key for chunk in found for key in chunk.files):
        outdate(session, key)
    for array in sorted({chunk.array for chunk in found if is_fitted(chunk.array)}):
        if not arrays.is_known(session, project_id, array):  # models have a copy of what made it
            digests.forget(session, encoder_key(project_id, array))


def add_chunk(session: Session, project_id: str, chunk: Chunk, *, generation: int) -> None:
    """Put a chunk into the list, from a generation on."""
    session.add(
        ChunkRow(
            key=chunk.key,
            project_id=project_id,
            array=chunk.array,
            start=chunk.start,
            stop=chunk.stop,
            kind=chunk.kind,
            columns=chunk.columns,
            dtype=chunk.dtype,
            born=generation,
        )
    )
    session.flush()


def _ask(session: Session, project_id: str, *, now: datetime, share: int, delay: timedelta) -> None:
    if queries.find(session, project_id, kind="merge", state="queued") is None:
        message = MergeMessage()
        jobs.enqueue(session, project_id=project_id, kind="merge", message=message, now=now, share=share, delay=delay)
