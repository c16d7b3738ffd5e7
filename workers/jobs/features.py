"""Features of text and tables, as chunks: filled for new rows only, by whichever job needs them first."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from service.actions import digests
from service.actions.models import array_noted, features_of
from service.db.queries import arrays
from service.db.tables import Model, Project
from service.errors import UnsupportedFeatureError
from service.storage.artifacts import encoder_key, is_fitted, model_encoder_key
from service.storage.objects import ObjectNotFoundError
from workers.jobs.context import JobContext
from workers.jobs.filling import building, fill
from workers.jobs.opening import open_object
from workers.jobs.pool import Layout, array_of, counts_terms, featurizer, missing_ranges, spread_rows
from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.tabular import SAMPLE, TabularEncoder
from workers.learning.matrices import GRID, TILE, Matrix

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
    encoder = _fitted(context, found, model) if is_fitted(found.array) else None
    encode = encoding(found.features, encoder or found.made_by)
    if encode is None:
        return None
    if found.made_by is not None and missing_ranges(found, found.array):
        _check_weights(found.features, found.made_by, found.array)

    def make(start: int, stop: int) -> Matrix:
        with context.read() as session:
            data = dict(arrays.data_between(session, context.project_id, start=start, stop=stop))
        return encode([_loaded(data.get(row)) for row in range(start, stop)])

    # Dense ones are dear to make: more is kept when a worker is lost, and told of meanwhile.
    step = GRID if counts_terms(found) else TILE
    fill(context, found, found.array, make, phase="featurizing", step=step)
    return encoder


def encoding_of(context: JobContext, project: Project, model: Model) -> Encode | None:
    """What makes the features that a model was trained on; None where they are vectors.

    Raises:
        UnsupportedFeatureError: this worker cannot.
    """
    features = features_of(project, model)
    made_by = featurizer(context, features)
    if made_by is not None and (array := array_noted(model)):
        _check_weights(features, made_by, array)
    return encoding(features, made_by or encoder_of(context, features, model))


def encoding(features: dict[str, Any], by: TabularEncoder | Featurizer | None) -> Encode | None:
    """What makes features of the data of examples; None where features are vectors."""
    if by is None:
        return None
    if isinstance(by, TabularEncoder):
        return by.encode
    return lambda rows: by.featurize([_content(row, features) for row in rows], features["params"])


def _check_weights(features: dict[str, Any], made_by: Featurizer, array: str) -> None:
    if array_of(features, made_by) != array:
        name = features["featurizer"]
        raise UnsupportedFeatureError(f"The model learnt from `{name}` with other weights. Start a training.")


def encoder_of(context: JobContext, features: dict[str, Any], model: Model) -> TabularEncoder | None:
    """What made the features that a model was trained on, if it was fitted to the pool."""
    if features["type"] != "tabular":
        return None
    return open_object(context, model_encoder_key(model.artifact_key), TabularEncoder.load)


def _fitted(context: JobContext, found: Layout, model: Model | None) -> TabularEncoder:
    """The encoder of the array: the one that is kept, else the model's, else a new one."""
    key = encoder_key(context.project_id, found.array)
    if kept := _kept(context, key):
        return kept
    with building(context, found.array):
        if kept := _kept(context, key):  # another job was faster
            return kept
        outside = model is None or "features" not in model.estimator  # a client's own model was trained elsewhere
        known = None if model is None or outside else encoder_of(context, found.features, model)
        encoder = known or _fit(context, found)
        data = encoder.dump()
        with context.fenced() as (session, _):  # first, so that nobody finds a file that its record does not know
            digests.record(session, context.project_id, {key: digests.sha256_of(data)})
        context.objects.put_bytes(key, data)
    return encoder


def _kept(context: JobContext, key: str) -> TabularEncoder | None:
    try:
        return open_object(context, key, TabularEncoder.load)
    except ObjectNotFoundError:
        return None


def _fit(context: JobContext, found: Layout) -> TabularEncoder:
    with context.read() as session:
        sample = arrays.data_of(session, context.project_id, spread_rows(found.rows, SAMPLE))
    rows = [row for row in map(_loaded, sample) if row is not None]
    context.progress.tell(0, 1, "learning what the fields mean")
    return TabularEncoder.fit(rows, found.features["fields"], found.features["params"])


def _loaded(data: str | None) -> dict[str, Any] | None:
    return orjson.loads(data) if data else None


def _content(data: dict[str, Any] | None, features: dict[str, Any]) -> str | dict[str, Any]:
    """What a featurizer sees of a row: its text, or those fields of the table that it has; empty for a hole."""
    given = data or {}
    if features["type"] == "tabular":
        names = [field["name"] for field in features["fields"]]
        return {name: given[name] for name in names if given.get(name) is not None}
    value = given.get(features["field"])
    return value if isinstance(value, str) else ""
