"""The arrays of a project as readers, of one generation that stays while the job runs."""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.orm import Session

from service.actions import jobs
from service.actions.predictions import chunk_of
from service.db.queries import arrays, projects
from service.db.tables import Model, Pool, Project
from service.storage.artifacts import FITTED_FEATURES
from service.storage.chunks import Chunk
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.readers import DenseReader, Overlay, SparseReader
from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.registry import FEATURIZERS
from workers.learning.matrices import ChunkReader

VECTORS = "vectors"
_FITTED = 2**14
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Layout:
    """What a project's arrays are, read in one transaction.

    Attributes:
        rows: the high-water mark.
        array: the one that holds the features.
        chunks: live chunks by array name.
        loose: rows and blobs of vectors that are in no chunk yet.
        unpublished: row ranges of uploads under way; nothing may be derived for them yet.
    """

    rows: int
    array: str
    features: dict[str, Any]
    chunks: dict[str, list[Chunk]]
    loose: list[tuple[int, bytes]]
    unpublished: list[tuple[int, int]]


def features_array(session: Session, project: Project, pool: Pool) -> str:
    """The array that models see: uploaded vectors, or features by the fingerprint of their definition.

    What tables mean is fitted to the pool, and anew whenever the pool has doubled, until it has `_FITTED` rows: from
    then on an upload featurizes what is new and nothing else. A fit that is made is found by the name of its array.
    """
    features = project.features
    if features["type"] == "vector":
        return VECTORS
    if features["type"] == "none":
        return "features:none"
    if features["type"] == "tabular":
        definition = {name: features[name] for name in ("fields", "params")}
        doublings = min(pool.next_row, _FITTED).bit_length()
        prefix = f"{FITTED_FEATURES}{_fingerprint(definition)}-{doublings}-"
        return arrays.features_named(session, project.id, prefix) or prefix + secrets.token_hex(4)
    name, params = features.get("featurizer", "text"), features["params"]
    if name == "text":
        return f"features:text-{params['n_features']}-{params['max_ngram']}-{int(params['lowercase'])}"
    return f"features:{name}-{_fingerprint(params)}"


def trained_on(session: Session, project: Project, pool: Pool, model: Model | None) -> str:
    """The array that a model was trained on; without one, that which the next is trained on."""
    array: str | None = model.estimator.get("features", {}).get("array") if model is not None else None
    return array or features_array(session, project, pool)


def _fingerprint(definition: Any) -> str:
    return blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=8).hexdigest()


def featurizer(features: dict[str, Any]) -> Featurizer | None:
    """What makes the features of texts; None where features are of another type."""
    return FEATURIZERS[features.get("featurizer", "text")] if features["type"] == "text" else None


def has_features(features: dict[str, Any]) -> bool:
    """Whether there is anything that a model trained here could see."""
    return bool(features["type"] != "none")


def counts_terms(features: dict[str, Any]) -> bool:
    """Whether models see sparse counts of terms; else dense vectors."""
    made_by = featurizer(features)
    return made_by is not None and made_by.counts


def width(found: Layout) -> int:
    """Columns of the features; those of tables are as many as were fitted."""
    if found.features["type"] == "tabular":
        chunks = found.chunks[found.array]
        return chunks[0].columns if chunks else len(found.features["fields"])
    made_by = featurizer(found.features)
    columns: int = found.features["dimensions"] if made_by is None else made_by.columns(found.features["params"])
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


def layout(session: Session, project: Project, pool: Pool, array: str, others: Sequence[str] = ()) -> Layout:
    """Read the chunk lists of the features and of other arrays, of the present generation, which the job has pinned."""
    chunks: dict[str, list[Chunk]] = {name: [] for name in (array, *others)}
    for row in arrays.live_chunks(session, project.id, arrays=list(chunks), generation=pool.chunk_generation):
        chunks[row.array].append(chunk_of(row))
    loose = arrays.loose_vectors(session, project.id, below=pool.next_row) if pool.loose_vectors else []
    return Layout(
        rows=pool.next_row,
        array=array,
        features=project.features,
        chunks=chunks,
        loose=loose,
        unpublished=arrays.unpublished_ranges(session, project.id) if pool.upload_id else [],
    )


def features_reader(context: JobContext, found: Layout) -> ChunkReader:
    """The features of every row, by row number."""
    chunks, columns = found.chunks[found.array], width(found)
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


def spread_rows(rows: int, most: int) -> range:
    """At most so many of the rows, evenly spread: a sample for what is learnt without labels."""
    return range(0, rows, max(1, -(-rows // most)))


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
