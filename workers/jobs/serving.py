"""What the serving model and its committee say of the rows of the pool: computed where it is missing, or uploaded."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.actions.predictions import array_name, arrays_of, told_in
from service.catalog.tasks import Task, columns_of
from service.db.tables import Model
from service.storage.artifacts import committee_key
from service.storage.chunks import Chunk
from workers.jobs.context import JobContext
from workers.jobs.filling import fill, make_chunks
from workers.jobs.opening import open_object
from workers.jobs.pool import Layout, dense_reader, missing_ranges
from workers.learning.estimators.committees import AnyCommittee, load_committee
from workers.learning.estimators.files import tried
from workers.learning.estimators.training import Trained, load_model
from workers.learning.matrices import ChunkReader, Matrix
from workers.learning.scoring import Predict


def predictions_reader(
    context: JobContext, model: Model, task: Task, found: Layout, features: ChunkReader | None
) -> ChunkReader:
    """What the model says [rows, columns of the task]; computed where it is missing, unless it was uploaded."""
    array = arrays_of(model).predictions
    if model.name is None and features is not None and missing_ranges(found, array):
        opened = open_model(context, model, task, features.read(0, 1))
        fill(context, found, array, Predict(opened, features), phase="predicting")
    columns = columns_of(task, model.classes)
    return dense_reader(context, found.chunks[array], rows=found.rows, columns=columns)


def predictions_ahead(context: JobContext, model: Trained, found: Layout, features: ChunkReader) -> Iterator[Chunk]:
    """What a model that is no version yet says of the pool, as chunks that are in no list."""
    array = array_name(0)  # the version is known when the model is stored
    found.chunks[array] = []
    return make_chunks(context, found, array, Predict(model, features))


def open_model(context: JobContext, model: Model, task: Task, row: Matrix) -> Trained:
    """The model itself, from its file, tried on one `row` [1, d] of those that it is for."""
    classes = model.classes

    def load(data: bytes) -> Trained:
        opened = load_model(data, task=task, class_count=len(classes))
        tried(lambda: opened.predictions(row), columns=columns_of(task, classes))
        return opened

    return open_object(context, model.artifact_key, load)


def members_reader(
    context: JobContext, model: Model, task: Task, found: Layout, features: ChunkReader | None
) -> ChunkReader | None:
    """What the model's committee says [rows, members x columns of the task]; None when it has none."""
    if (members := committee_size(model)) == 0:
        return None
    array = arrays_of(model).members
    if model.name is None and features is not None and missing_ranges(found, array):
        opened = _open_committee(context, model, task, features.read(0, 1))
        fill(context, found, array, Predict(opened, features), phase="asking the committee")
    columns = members * columns_of(task, model.classes)
    return dense_reader(context, found.chunks[array], rows=found.rows, columns=columns)


def _open_committee(context: JobContext, model: Model, task: Task, row: Matrix) -> AnyCommittee:
    columns = committee_size(model) * columns_of(task, model.classes)

    def load(data: bytes) -> AnyCommittee:
        opened = load_committee(data, task=task, class_count=len(model.classes))
        tried(lambda: opened.predictions(row), columns=columns)
        return opened

    return open_object(context, committee_key(model.artifact_key), load)


def committee_size(model: Model) -> int:
    """Members of the committee that was trained beside the model, or whose predictions were uploaded with its own."""
    if model.name is not None:
        return model.members
    # Models that are older than committees say nothing of theirs.
    size: int = model.estimator["params"].get("committee", 0)
    return size


def vectors_reader(context: JobContext, model: Model | None, found: Layout) -> ChunkReader | None:
    """Vectors that were uploaded with the predictions of a model [rows, dimensions]; None when none were."""
    if model is None or model.dimensions is None:
        return None
    chunks = found.chunks[arrays_of(model).vectors]
    return dense_reader(context, chunks, rows=found.rows, columns=model.dimensions)


def told_rows(context: JobContext, model: Model | None, found: Layout) -> NDArray[np.bool_] | None:
    """For which rows a prediction was uploaded [rows]; None unless predictions are uploaded."""
    if model is None or model.name is None:
        return None
    told = np.zeros(found.rows, dtype=np.bool_)
    for chunk in found.chunks[arrays_of(model).told]:
        told[chunk.start : chunk.stop] = told_in(context.objects, chunk)
    return told
