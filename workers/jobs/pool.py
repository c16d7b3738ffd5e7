"""The arrays of a project as readers, of one generation that stays while the job runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.orm import Session

from service.actions import jobs
from service.actions.predictions import chunk_of
from service.db.queries import arrays, projects
from service.db.tables import Pool, Project
from service.storage.chunks import Chunk
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.readers import DenseReader, Overlay, SparseReader
from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.registry import FEATURIZERS
from workers.learning.matrices import ChunkReader

VECTORS = "vectors"
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Layout:
    """What a project's arrays are, read in one transaction.

    Attributes:
        rows: the high-water mark.
        chunks: live chunks by array name.
        loose: rows and blobs of vectors that are in no chunk yet.
        unpublished: row ranges of uploads under way; nothing may be derived for them yet.
    """

    rows: int
    features: dict[str, Any]
    chunks: dict[str, list[Chunk]]
    loose: list[tuple[int, bytes]]
    unpublished: list[tuple[int, int]]


def features_array(features: dict[str, Any]) -> str:
    """The array that models see: uploaded vectors, or features by the fingerprint of their definition."""
    if features["type"] == "vector":
        return VECTORS
    if features["type"] == "none":
        return "features:none"
    name, params = features.get("featurizer", "text"), features["params"]
    if name == "text":
        return f"features:text-{params['n_features']}-{params['max_ngram']}-{int(params['lowercase'])}"
    fingerprint = blake2b(json.dumps(params, sort_keys=True).encode(), digest_size=8).hexdigest()
    return f"features:{name}-{fingerprint}"


def featurizer(features: dict[str, Any]) -> Featurizer | None:
    """What makes the features of texts; None for vectors, which are features already, and where there are none."""
    return None if features["type"] in {"vector", "none"} else FEATURIZERS[features.get("featurizer", "text")]


def has_features(features: dict[str, Any]) -> bool:
    """Whether there is anything that a model trained here could see."""
    return bool(features["type"] != "none")


def counts_terms(features: dict[str, Any]) -> bool:
    """Whether models see sparse counts of terms; else dense vectors."""
    made_by = featurizer(features)
    return made_by is not None and made_by.counts


def width(features: dict[str, Any]) -> int:
    """Columns of the features."""
    made_by = featurizer(features)
    columns: int = features["dimensions"] if made_by is None else made_by.columns(features["params"])
    return columns


def pin(session: Session, context: JobContext, pool: Pool) -> int:
    """Pin the present generation for this job, whose files are kept from then on; return it.

    Raises:
        JobLostError: the job is no longer ours.
    """
    if not jobs.pin(session, context.claim, chunks=pool.chunk_generation, labels=pool.label_generation):
        raise JobLostError
    return pool.chunk_generation


def pin_then_read(context: JobContext, read: Callable[[Session], Loaded]) -> Loaded:
    """Pin the present generation, then `read` in a transaction that only reads, as labels may be many.

    SQLite has one writer, so the pin is a short write before it. What a merge or an upload has changed in between is
    pinned and read again.
    """
    while True:
        with context.write() as session:
            pinned = pin(session, context, projects.pool(session, context.project_id))
        with context.read() as session:
            loaded = read(session)
            if projects.generation(session, context.project_id) == pinned:
                return loaded


def layout(session: Session, project: Project, pool: Pool, names: list[str]) -> Layout:
    """Read the chunk lists of the present generation, which the job has pinned."""
    chunks: dict[str, list[Chunk]] = {name: [] for name in names}
    for row in arrays.live_chunks(session, project.id, arrays=names, generation=pool.chunk_generation):
        chunks[row.array].append(chunk_of(row))
    loose = arrays.loose_vectors(session, project.id, below=pool.next_row) if pool.loose_vectors else []
    return Layout(
        rows=pool.next_row,
        features=project.features,
        chunks=chunks,
        loose=loose,
        unpublished=arrays.unpublished_ranges(session, project.id) if pool.upload_id else [],
    )


def features_reader(context: JobContext, found: Layout) -> ChunkReader:
    """The features of every row, by row number."""
    chunks, columns = found.chunks[features_array(found.features)], width(found.features)
    if counts_terms(found.features):
        return SparseReader(context.objects, chunks, rows=found.rows, columns=columns)
    return DenseReader(
        context.objects, chunks, rows=found.rows, columns=columns, overlay=overlay_of(found.loose, columns)
    )


def overlay_of(loose: list[tuple[int, bytes]], columns: int) -> Overlay | None:
    """Loose vectors as arrays."""
    if not loose:
        return None
    rows = np.fromiter((row for row, _ in loose), dtype=np.int64, count=len(loose))
    values = np.frombuffer(b"".join(vector for _, vector in loose), dtype="<f4")
    return Overlay(rows, values.reshape(len(loose), columns).astype(np.float32, copy=False))


def missing_ranges(found: Layout, array: str) -> list[tuple[int, int]]:
    """Row ranges below the high-water mark that the array lacks and that may be filled, in order."""
    covered = sorted([(chunk.start, chunk.stop) for chunk in found.chunks[array]] + found.unpublished)
    ranges, done = [], 0
    for start, stop in [*covered, (found.rows, found.rows)]:
        if start > done:
            ranges.append((done, start))
        done = max(done, stop)
    return ranges


def next_generation(session: Session, project_id: str) -> tuple[Pool, int]:
    """Lock the pool and begin a new generation of its chunk lists."""
    pool = projects.lock_pool(session, project_id)
    pool.chunk_generation += 1
    session.flush()
    return pool, pool.chunk_generation
