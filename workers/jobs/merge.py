"""Merging: the loose vectors of many small uploads become chunks; files that nobody reads are deleted."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.actions import projects
from service.db.queries import arrays
from service.db.queries import projects as project_queries
from service.storage.chunks import chunk_key, delete_chunk, write_dense
from workers.jobs.context import JobContext
from workers.jobs.filling import add_chunk, collect
from workers.jobs.pool import VECTORS, Layout, features_reader, layout, missing_ranges, next_generation
from workers.learning.matrices import grid


def run(context: JobContext) -> None:
    """Write one chunk for each range of rows that only has loose vectors."""
    found = _load(context)
    gaps = [gap for gap in missing_ranges(found, VECTORS) if any(gap[0] <= row < gap[1] for row, _ in found.loose)]
    for done, (start, stop) in enumerate(gaps):
        context.progress.tell(done, len(gaps), "merging")
        _merge(context, found, start, stop)
    with context.fenced() as (session, _):
        context.finish(session, {"chunks": len(gaps)})
    collect(context)


def _load(context: JobContext) -> Layout:
    with context.fenced() as (session, _):
        project = projects.get(session, context.project_id)
        pool = project_queries.pool(session, project.id)
        return layout(session, context, project, pool, [VECTORS])


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
        removed = arrays.remove_loose_vectors(session, context.project_id, start=start, stop=stop)
        if removed:
            pool.loose_vectors -= removed
            add_chunk(session, context.project_id, chunk, generation=generation)
    if not removed:
        delete_chunk(context.objects, chunk)
