"""Features of text, as chunks: filled for new rows only, by whichever job needs them first."""

import orjson

from service.db.queries import arrays
from workers.jobs.context import JobContext
from workers.jobs.filling import fill
from workers.jobs.pool import Layout, features_array, featurizer
from workers.learning.matrices import Matrix


def fill_features(context: JobContext, found: Layout) -> None:
    """Make the features of every row; uploaded vectors are features already."""
    made_by = featurizer(found.features)
    if made_by is None:
        return
    field, params = found.features["field"], found.features["params"]

    def make(start: int, stop: int) -> Matrix:
        with context.read() as session:
            texts = dict(arrays.data_between(session, context.project_id, start=start, stop=stop))
        return made_by.featurize((_text(texts.get(row), field) for row in range(start, stop)), params)

    fill(context, found, features_array(found.features), make, phase="featurizing")


def _text(data: str | None, field: str) -> str:
    """The text of a row; empty for a hole."""
    value = orjson.loads(data).get(field) if data else None
    return value if isinstance(value, str) else ""
