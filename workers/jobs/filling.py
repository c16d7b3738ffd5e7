"""Fills the missing ranges of a derived array: features of text, predictions of a model.

One job fills an array at a time; others wait for it. New chunks take small neighbours in, so that many small uploads do
not leave many small chunks.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array, vstack
from sqlalchemy.orm import Session

from service.actions import digests
from service.actions.arrays import add_chunk
from service.actions.predictions import chunk_of
from service.db.queries import arrays, jobs
from service.storage.artifacts import encoder_key, is_fitted
from service.storage.chunks import Chunk, chunk_key, delete_chunk, open_csr, open_dense, write_csr, write_dense
from service.storage.objects import ObjectStore
from workers.jobs.context import JobContext
from workers.jobs.pool import Layout, missing_ranges, next_generation
from workers.learning.matrices import GRID, TILE, Matrix, grid

_POLL_SECONDS = 0.05
_SMALL = 1024

Make: TypeAlias = Callable[[int, int], Matrix]


def fill(context: JobContext, found: Layout, array: str, make: Make, *, phase: str, step: int | None = None) -> None:
    """Bring the array up to the high-water mark; `found.chunks[array]` is its chunk list afterwards.

    `make(start, stop)` computes the rows of one tile; tiles are worked on in parallel. With a `step`, a divisor of the
    grid, so many rows are published as they are made, and a lost worker's successor goes on there; else a whole range
    at once, which is quicker.
    """
    if not missing_ranges(found, array):
        return
    with building(context, array):
        _reload(context, found, array)
        done = 0
        while gaps := missing_ranges(found, array):
            blocks = [block for start, stop in gaps for block in grid(stop, start, step)] if step else gaps
            context.progress.tell(done, done + len(blocks), phase)
            _publish(context, found, array, make, *blocks[0])
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
        yield write_blocks(context, array, _made(context, make, start, stop), start)


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


def _publish(context: JobContext, found: Layout, array: str, make: Make, start: int, stop: int) -> None:
    """Write rows as a chunk, together with a small chunk that ends where they start, and put it into the list."""
    before = [chunk for chunk in found.chunks[array] if chunk.stop == start and chunk.start // GRID == start // GRID]
    absorbed = [chunk for chunk in before if chunk.rows <= max(_SMALL, 2 * (stop - start))]
    blocks = chain((open_matrix(context.objects, chunk) for chunk in absorbed), _made(context, make, start, stop))
    written = write_blocks(context, array, blocks, absorbed[0].start if absorbed else start)
    keys = [chunk.key for chunk in absorbed]
    with context.fenced() as (session, _):
        _, generation = next_generation(session, context.project_id)
        taken = arrays.overlapping(
            session, context.project_id, array, start=written.start, stop=written.stop
        ).difference(keys)
        if not taken:
            arrays.retire(session, keys, generation=generation)
            add_chunk(session, context.project_id, written, generation=generation)
        _read_list(session, context, found, array)
    if taken:
        delete_chunk(context.objects, written)


def _made(context: JobContext, make: Make, start: int, stop: int) -> Iterable[Matrix]:
    """The rows of a range, tile by tile, made in parallel."""
    return context.parallel.map(lambda tile: make(*tile), grid(stop, start, TILE))


def open_matrix(objects: ObjectStore, chunk: Chunk) -> Matrix:
    """All rows of a chunk."""
    if chunk.kind == "dense":
        return open_dense(objects, chunk)
    return csr_array(open_csr(objects, chunk), shape=(chunk.rows, chunk.columns))


def write_blocks(context: JobContext, array: str, blocks: Iterable[Matrix], start: int) -> Chunk:
    """Write consecutive blocks from row `start` on as a chunk that is in no list yet; dense ones are not held."""
    key = chunk_key(context.project_id, array, start)
    rest = iter(blocks)
    first = next(rest)
    if isinstance(first, np.ndarray):
        dense = (np.asarray(block) for block in chain([first], rest))
        return write_dense(context.objects, key, dense, array=array, start=start)
    made = csr_array(vstack([first, *rest], format="csr"))
    parts = (made.data, made.indices, made.indptr)
    return write_csr(context.objects, key, parts, array=array, start=start, columns=made.shape[1])


def collect(context: JobContext) -> None:
    """Delete the files of retired chunks that no running job reads any more."""
    with context.write() as session:
        oldest = jobs.oldest_pinned_generation(session, context.project_id)
        rows = arrays.take_unused(session, context.project_id, oldest=oldest, limit=1000)
        found = [chunk_of(row) for row in rows]
        for array in sorted({chunk.array for chunk in found if is_fitted(chunk.array)}):
            if not arrays.is_known(session, context.project_id, array):  # models have a copy of what made it
                digests.forget(session, encoder_key(context.project_id, array))
    for chunk in found:
        delete_chunk(context.objects, chunk)
