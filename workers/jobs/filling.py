"""Fills the missing ranges of a derived array: features of text, predictions of a model.

One job fills an array at a time; others wait for it. New chunks take small neighbours in, so that many small uploads do
not leave many small chunks.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from sqlalchemy.orm import Session

from service.actions.arrays import add_chunk, collect
from service.actions.predictions import chunk_of
from service.db.queries import arrays
from service.storage.chunks import Chunk, delete_chunk
from service.storage.objects import ObjectStore
from workers.jobs.context import JobContext
from workers.jobs.pool import Layout, missing_ranges, next_generation
from workers.jobs.writing import Make, WriteChunk, open_matrix, write_blocks
from workers.learning.matrices import GRID, TILE, Matrix, grid
from workers.learning.parallel import Parallel

_POLL_SECONDS = 0.05
_SMALL = 1024
_MOST_COLLECTED = 1000
_CLUSTER_ROWS = 4 * GRID  # of one task of a cluster, which are one chunk


def fill(context: JobContext, found: Layout, array: str, make: Make, *, phase: str, step: int | None = None) -> None:
    """Bring the array up to the high-water mark; `found.chunks[array]` is its chunk list afterwards.

    `make(start, stop)` computes the rows of one tile; tiles are worked on in parallel. With a `step`, a divisor of the
    grid, so many rows are published as they are made, and a lost worker's successor goes on there; else a whole range
    at once, which is quicker, and `make` can be sent to other processes and to a cluster.
    """
    if not missing_ranges(found, array):
        return
    with building(context, array):
        _reload(context, found, array)
        done = 0
        while gaps := missing_ranges(found, array):
            blocks = [block for start, stop in gaps for block in grid(stop, start, step)] if step else gaps
            context.progress.tell(done, done + len(blocks), phase)
            start, stop = blocks[0]
            if step or not _is_worth_sending(context, start, stop):
                parallel = context.parallel.in_threads() if step else context.parallel
                _write(context, found, array, _made(parallel, make, start, stop), start, stop)
            else:
                _publish(context, found, array, _made_there(context, array, make, start, stop))
            done += 1


@contextmanager
def building(context: JobContext, array: str) -> Iterator[None]:
    """Be the only job that fills the array, or makes what it is filled by."""
    _become_builder(context, array)
    try:
        yield
    finally:
        with context.write() as session:
            arrays.end_build(session, context.project_id, array, token=context.claim.token)


def make_chunks(context: JobContext, found: Layout, array: str, make: Make) -> Iterator[Chunk]:
    """The rows that the array lacks, as chunks that are in no list yet; for an array that nobody else fills."""
    for start, stop in missing_ranges(found, array):
        if _is_worth_sending(context, start, stop):
            yield from _made_there(context, array, make, start, stop)
        else:
            made = _made(context.parallel, make, start, stop)
            yield write_blocks(context.objects, made, project_id=context.project_id, array=array, start=start)


def _become_builder(context: JobContext, array: str) -> None:
    """Wait until no other running job fills the array; one that is lost gives up with its lease."""
    while True:
        with context.read() as session:
            free = arrays.builder(session, context.project_id, array) is None
        if free:
            with context.write() as session:
                if arrays.take_build(session, context.project_id, array, token=context.claim.token):
                    return
        time.sleep(_POLL_SECONDS)


def _reload(context: JobContext, found: Layout, array: str) -> None:
    """Read the array's list again: somebody else may have filled it while this job waited."""
    with context.read() as session:
        _read_list(session, context, found, array)


def _read_list(session: Session, context: JobContext, found: Layout, array: str) -> None:
    rows = arrays.live_chunks(session, context.project_id, arrays=[array], generation=arrays.LATEST)
    found.chunks[array] = [chunk_of(row) for row in rows if row.start < found.rows]


def _write(context: JobContext, found: Layout, array: str, made: Iterable[Matrix], start: int, stop: int) -> None:
    """Write rows as a chunk, together with a small chunk that ends where they start, and put it into the list."""
    before = [chunk for chunk in found.chunks[array] if chunk.stop == start and chunk.start // GRID == start // GRID]
    absorbed = [chunk for chunk in before if chunk.rows <= max(_SMALL, 2 * (stop - start))]
    blocks = chain((open_matrix(context.objects, chunk) for chunk in absorbed), made)
    first = absorbed[0].start if absorbed else start
    written = write_blocks(context.objects, blocks, project_id=context.project_id, array=array, start=first)
    _publish(context, found, array, [written], absorbed)


def _publish(
    context: JobContext, found: Layout, array: str, made: Iterable[Chunk], absorbed: Iterable[Chunk] = ()
) -> None:
    """Put consecutive chunks into the list, in place of those that they have absorbed."""
    written, keys = _all_or_none(context.objects, made), [chunk.key for chunk in absorbed]
    with context.fenced() as (session, _):
        _, generation = next_generation(session, context.project_id)
        taken = arrays.overlapping(
            session, context.project_id, array, start=written[0].start, stop=written[-1].stop
        ).difference(keys)
        if not taken:
            arrays.retire(session, keys, generation=generation)
            for chunk in written:
                add_chunk(session, context.project_id, chunk, generation=generation)
        _read_list(session, context, found, array)
    if taken:
        for chunk in written:
            delete_chunk(context.objects, chunk)


def _all_or_none(objects: ObjectStore, made: Iterable[Chunk]) -> list[Chunk]:
    """The chunks; when not all of them can be made, the files of the others are deleted."""
    written: list[Chunk] = []
    try:
        for chunk in made:
            written.append(chunk)  # noqa: PERF402 - those before a failure count
    except BaseException:
        for chunk in written:
            delete_chunk(objects, chunk)
        raise
    return written


def _made(parallel: Parallel, make: Make, start: int, stop: int) -> Iterable[Matrix]:
    """The rows of a range, tile by tile, made in parallel."""
    return parallel.map(lambda tile: make(*tile), grid(stop, start, TILE))


def _is_worth_sending(context: JobContext, start: int, stop: int) -> bool:
    return context.parallel.cluster is not None and stop - start > _CLUSTER_ROWS


def _made_there(context: JobContext, array: str, make: Make, start: int, stop: int) -> Iterator[Chunk]:
    """The rows of a range as chunks that are in no list, made and written by the workers of a cluster."""
    work = WriteChunk(context.objects, context.project_id, array, make)
    return context.parallel.over_chunks(work, grid(stop, start, _CLUSTER_ROWS))


def tidy(context: JobContext) -> None:
    """Delete the files of retired chunks that no running job reads any more."""
    with context.write() as session:
        collect(session, context.project_id, limit=_MOST_COLLECTED)
