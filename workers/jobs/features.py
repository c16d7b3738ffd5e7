"""Features of text and tables, as chunks: filled for new rows only, by whichever job needs them first."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from service.db.queries import arrays
from service.db.tables import Model
from service.storage.artifacts import encoder_key, model_encoder_key
from service.storage.objects import ObjectNotFoundError
from workers.jobs.context import JobContext
from workers.jobs.filling import fill
from workers.jobs.opening import open_object
from workers.jobs.pool import Layout, featurizer, spread_rows
from workers.learning.featurizers.tabular import SAMPLE, TabularEncoder
from workers.learning.matrices import Matrix

Encode = Callable[[Sequence[dict[str, Any] | None]], Matrix]
"""Features of the data of examples; zeros where there is none."""


def fill_features(context: JobContext, found: Layout, *, model: Model | None = None) -> TabularEncoder | None:
    """Make the features of every row; uploaded vectors are features already.

    Args:
        context: Of the job.
        found: The features of its `array`.
        model: Was trained on it.

    Returns:
        What was fitted to the pool to make them, if anything.
    """
    encoder = _fitted(context, found, model) if found.features["type"] == "tabular" else None
    encode = encoding(found.features, encoder)
    if encode is None:
        return None

    def make(start: int, stop: int) -> Matrix:
        with context.read() as session:
            data = dict(arrays.data_between(session, context.project_id, start=start, stop=stop))
        return encode([_loaded(data.get(row)) for row in range(start, stop)])

    fill(context, found, found.array, make, phase="featurizing")
    return encoder


def encoding(features: dict[str, Any], encoder: TabularEncoder | None) -> Encode | None:
    """What makes features of the data of examples; None where features are vectors."""
    if encoder is not None:
        return encoder.encode
    made_by = featurizer(features)
    if made_by is None:
        return None
    field, params = features["field"], features["params"]
    return lambda rows: made_by.featurize((_text(row, field) for row in rows), params)


def encoder_of(context: JobContext, features: dict[str, Any], model: Model) -> TabularEncoder | None:
    """What made the features that a model was trained on, if it was fitted to the pool."""
    if features["type"] != "tabular":
        return None
    return open_object(context, model_encoder_key(model.artifact_key), TabularEncoder.load)


def _fitted(context: JobContext, found: Layout, model: Model | None) -> TabularEncoder:
    """The encoder of the array: the one that is kept, else the model's, else a new one."""
    key = encoder_key(context.project_id, found.array)
    try:
        return open_object(context, key, TabularEncoder.load)
    except ObjectNotFoundError:
        outside = model is None or "features" not in model.estimator  # a client's own model was trained elsewhere
        known = None if model is None or outside else encoder_of(context, found.features, model)
    encoder = known or _fit(context, found)
    context.objects.put_bytes(key, encoder.dump())
    return encoder


def _fit(context: JobContext, found: Layout) -> TabularEncoder:
    with context.read() as session:
        sample = arrays.data_of(session, context.project_id, spread_rows(found.rows, SAMPLE))
    rows = [row for row in map(_loaded, sample) if row is not None]
    context.progress.tell(0, 1, "learning what the fields mean")
    return TabularEncoder.fit(rows, found.features["fields"], found.features["params"])


def _loaded(data: str | None) -> dict[str, Any] | None:
    return orjson.loads(data) if data else None


def _text(data: dict[str, Any] | None, field: str) -> str:
    """The text of a row; empty for a hole."""
    value = (data or {}).get(field)
    return value if isinstance(value, str) else ""
