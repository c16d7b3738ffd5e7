"""Merging: loose vectors become chunks, deleted rows become zeros, files that nobody reads are deleted."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from service.actions import projects
from service.actions.arrays import add_chunk, tidy_later
from service.actions.predictions import chunk_of
from service.db.queries import arrays
from service.db.queries import projects as project_queries
from service.storage.chunks import Chunk, chunk_key, delete_chunk, write_dense
from workers.jobs.context import JobContext
from workers.jobs.filling import tidy
from workers.jobs.pool import (
    VECTORS,
    Layout,
    Seen,
    features_reader,
    layout,
    missing_ranges,
    next_generation,
    pin,
)
from workers.jobs.writing import open_matrix, write_blocks
from workers.learning.matrices import TILE, Matrix, grid


def run(context: JobContext) -> None:
    """Write one chunk for each range of rows that only has loose vectors."""
    found = _load(context)
    gaps = [gap for gap in missing_ranges(found, VECTORS) if any(gap[0] <= row < gap[1] for row, _ in found.loose)]
    for done, (start, stop) in enumerate(gaps):
        context.progress.tell(done, len(gaps), "merging")
        _merge(context, found, start, stop)
    chunks, filling = _chunks(context)
    zeroed = sum(_zero_holes(context, chunk) for chunk in chunks)
    with context.fenced() as (session, _):
        if filling:  # it may publish numbers that it read before an example was deleted
            tidy_later(session, context.project_id, now=context.now(), share=context.share)
        context.finish(session, {"chunks": len(gaps), "zeroed": zeroed})
    tidy(context)


def _load(context: JobContext) -> Layout:
    with context.write() as session:
        project = projects.get(session, context.project_id)
        pool = project_queries.pool(session, project.id)
        pin(session, context, pool)
        return layout(session, context, pool, Seen(project.features, VECTORS))


def _merge(context: JobContext, found: Layout, start: int, stop: int) -> None:
    reader = features_reader(context, found)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for first, last in grid(stop, start):
            yield np.asarray(reader.read(first, last))

    chunk = write_dense(
        context.objects, chunk_key(context.project_id, VECTORS, start), blocks(), array=VECTORS, start=start
    )
    with context.fenced() as (session, _):
        pool, generation = next_generation(session, context.project_id)
        # Another merge may have been here: chunks never overlap.
        free = not arrays.overlapping(session, context.project_id, VECTORS, start=chunk.start, stop=chunk.stop)
        if free:
            pool.loose_vectors -= arrays.remove_loose_vectors(session, context.project_id, start=start, stop=stop)
            add_chunk(session, context.project_id, chunk, generation=generation)
    if not free:
        delete_chunk(context.objects, chunk)


def _chunks(context: JobContext) -> tuple[list[Chunk], bool]:
    """What may hold numbers of deleted examples (predictions of trained models go with these), and if it grows now."""
    with context.read() as session:
        projects.get(session, context.project_id)
        filling = arrays.features_growing(session, context.project_id)
        return [chunk_of(row) for row in arrays.live_lasting(session, context.project_id)], filling


def _zero_holes(context: JobContext, chunk: Chunk) -> int:
    """Replace a chunk that holds numbers of rows without an example; how many such rows."""
    with context.read() as session:
        rows = arrays.existing_rows(session, context.project_id, start=chunk.start, stop=chunk.stop)
    present = np.zeros(chunk.rows, dtype=np.bool_)
    present[np.array(rows, dtype=np.int64) - chunk.start] = True
    X = open_matrix(context.objects, chunk)
    stale = np.flatnonzero(~present)
    stale = stale[abs(X[stale]).sum(axis=1) > 0]
    if stale.size == 0:
        return 0
    kept = np.ones(chunk.rows, dtype=X.dtype)
    kept[stale] = 0
    blocks = (_scaled(X[first:last], kept[first:last]) for first, last in grid(chunk.rows, 0, TILE))
    replacement = write_blocks(
        context.objects, blocks, project_id=context.project_id, array=chunk.array, start=chunk.start
    )
    with context.fenced() as (session, _):
        _, generation = next_generation(session, context.project_id)
        replaced = arrays.retire(session, [chunk.key], generation=generation)
        if replaced:
            add_chunk(session, context.project_id, replacement, generation=generation)
    if not replaced:
        delete_chunk(context.objects, replacement)
    return int(stale.size) if replaced else 0


def _scaled(X: Matrix, kept: NDArray[Any]) -> Matrix:
    """Rows times 1 or 0; numbers that are no longer there leave a sparse matrix too."""
    if isinstance(X, np.ndarray):
        return X * kept[:, np.newaxis]
    zeroed = csr_array(diags_array(kept) @ X)
    zeroed.eliminate_zeros()
    return zeroed
