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
from service.actions.models import array_noted, features_of
from service.actions.predictions import chunk_of
from service.catalog.featurizers import FEATURIZERS, why_missing
from service.db.queries import arrays, projects
from service.db.tables import Model, Pool, Project
from service.errors import UnsupportedFeatureError
from service.storage.artifacts import FITTED_FEATURES
from service.storage.chunks import Chunk
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.readers import DenseReader, Overlay, SparseReader
from workers.learning.far import reachable
from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.registry import featurizer_of
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
        features: their definition.
        made_by: what makes them of each example by itself; None where they are uploaded, or fitted to the pool.
        chunks: live chunks by array name.
        loose: rows and blobs of vectors that are in no chunk yet.
        unpublished: row ranges of uploads under way; nothing may be derived for them yet.
    """

    rows: int
    array: str
    features: dict[str, Any]
    made_by: Featurizer | None
    chunks: dict[str, list[Chunk]]
    loose: list[tuple[int, bytes]]
    unpublished: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model sees: the definition of its features, the array that holds them, and what makes it, if known."""

    features: dict[str, Any]
    array: str
    made_by: Featurizer | None = None


def seen_next(session: Session, context: JobContext, project: Project, pool: Pool) -> Seen:
    """What the next model is trained on."""
    return seen_by(session, context, pool, project.features)


def seen_by(session: Session, context: JobContext, pool: Pool, features: dict[str, Any]) -> Seen:
    """Uploaded vectors, or features by the fingerprint of their definition.

    What tables mean is fitted to the pool, and anew whenever the pool has doubled, until it has `_FITTED` rows: from
    then on an upload featurizes what is new and nothing else. A fit that is made is found by the name of its array.
    """
    if features["type"] == "vector":
        return Seen(features, VECTORS)
    if features["type"] == "none":
        return Seen(features, "features:none")
    if (made_by := featurizer(context, features)) is not None:
        return Seen(features, array_of(features, made_by), made_by)
    definition = {name: features[name] for name in ("fields", "params")}
    doublings = min(pool.next_row, _FITTED).bit_length()
    prefix = f"{FITTED_FEATURES}{_fingerprint(definition)}-{doublings}-"
    return Seen(features, arrays.features_named(session, pool.project_id, prefix) or prefix + secrets.token_hex(4))


def array_of(features: dict[str, Any], made_by: Featurizer) -> str:
    """The array of features that are made of each example by itself."""
    name, params, state = features.get("featurizer", "text"), features["params"], made_by.state()
    if name == "text":
        return f"features:text-{params['n_features']}-{params['max_ngram']}-{int(params['lowercase'])}"
    parts = [params, *([features["fields"]] if features["type"] == "tabular" else []), *([state] if state else [])]
    return f"features:{name}-{_fingerprint(parts if len(parts) > 1 else params)}"


def seen_then(session: Session, context: JobContext, project: Project, pool: Pool, model: Model | None) -> Seen:
    """What a model was trained on; without one, or with a client's own, what the next is trained on."""
    features, array = features_of(project, model), array_noted(model)
    return Seen(features, array) if array else seen_by(session, context, pool, features)


def _fingerprint(definition: Any) -> str:
    return blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=8).hexdigest()


def featurizer(context: JobContext, features: dict[str, Any]) -> Featurizer | None:
    """What makes the features of each example by itself; None where they are uploaded, or fitted to the pool.

    Raises:
        UnsupportedFeatureError: this worker lacks what it needs.
    """
    name = features.get("featurizer", features["type"])
    if name in {"vector", "none", "tabular"}:
        return None
    if (reason := why_missing(FEATURIZERS[name])) is not None:
        raise UnsupportedFeatureError(f"This worker cannot make the features: {reason}")
    return featurizer_of(name, embedding_model=context.settings.embedding_model)


def has_features(features: dict[str, Any]) -> bool:
    """Whether there is anything that a model trained here could see."""
    return bool(features["type"] != "none")


def counts_terms(found: Layout) -> bool:
    """Whether models see sparse counts of terms; else dense vectors."""
    return found.made_by is not None and found.made_by.counts


def width(found: Layout) -> int:
    """Columns of the features; those of tables are as many as were fitted."""
    if found.features["type"] == "vector":
        dimensions: int = found.features["dimensions"]
        return dimensions
    if chunks := found.chunks[found.array]:
        return chunks[0].columns
    return len(found.features["fields"]) if found.made_by is None else found.made_by.columns(found.features["params"])


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


def layout(session: Session, context: JobContext, pool: Pool, seen: Seen, others: Sequence[str] = ()) -> Layout:
    """Read the chunk lists of the features and of other arrays, of the present generation, which the job has pinned."""
    chunks: dict[str, list[Chunk]] = {name: [] for name in (seen.array, *others)}
    for row in arrays.live_chunks(session, pool.project_id, arrays=list(chunks), generation=pool.chunk_generation):
        chunks[row.array].append(chunk_of(row))
    loose = arrays.loose_vectors(session, pool.project_id, below=pool.next_row) if pool.loose_vectors else []
    return Layout(
        rows=pool.next_row,
        array=seen.array,
        features=seen.features,
        made_by=None if seen.array == VECTORS else seen.made_by or featurizer(context, seen.features),
        chunks=chunks,
        loose=loose,
        unpublished=arrays.unpublished_ranges(session, pool.project_id) if pool.upload_id else [],
    )


def features_reader(context: JobContext, found: Layout) -> ChunkReader:
    """The features of every row, by row number."""
    chunks, columns = found.chunks[found.array], width(found)
    if counts_terms(found):
        return reachable(SparseReader(context.objects, chunks, rows=found.rows, columns=columns), context.parallel)
    return dense_reader(context, chunks, rows=found.rows, columns=columns, overlay=overlay_of(found.loose, columns))


def dense_reader(
    context: JobContext, chunks: Sequence[Chunk], *, rows: int, columns: int, overlay: Overlay | None = None
) -> ChunkReader:
    """A dense array of every row, by row number."""
    reader = DenseReader(context.objects, chunks, rows=rows, columns=columns, overlay=overlay)
    return reachable(reader, context.parallel)


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
