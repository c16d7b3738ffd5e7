"""The chunk lists of a project's arrays, and their upkeep, asked for by what changes them."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.queries import jobs as queries
from service.db.tables import Chunk as ChunkRow
from service.queue.messages import MergeMessage
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
