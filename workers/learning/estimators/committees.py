"""Committees for every task. Where labels are no single classes, members are whole models."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.committee import MEMBERS, Committee, Kind, train_committee
from workers.learning.estimators.files import ModelFileError, read_committee
from workers.learning.estimators.multi_label import MultiLabelModel
from workers.learning.estimators.regression import RegressionModel
from workers.learning.estimators.training import TrainingRequest, learn, nothing_to_learn, settled, tolerant, train
from workers.learning.matrices import Matrix, Rows
from workers.learning.parallel import Parallel, single_threaded
from workers.learning.tasks import Task

_KINDS: Mapping[Task, tuple[str, ...]] = {
    "multi_label": MEMBERS,
    "regression": ("bayesian_ridge", "random_forest", "mlp", "extra_trees", "knn", "gaussian_process"),
}
_DRAWS = 20


@dataclass(frozen=True)
class ModelCommittee:
    """Members that are models of several classes an example, or of numbers."""

    models: tuple[MultiLabelModel | RegressionModel, ...]

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.models)

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """What members say [n, members x columns of the task] of rows `X` [n, d], member by member."""
        return np.hstack([model.predictions(X) for model in self.models])

    def dump(self) -> bytes:
        """The committee's file (skops format); shared steps are in it once."""
        members = [
            [model.pipeline] if isinstance(model, RegressionModel) else list(model.members) for model in self.models
        ]
        data: bytes = skops.io.dumps(members)
        return data

    @classmethod
    def load(cls, data: bytes, *, task: Task) -> Self:
        """The committee of a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        if task == "multi_label":
            return cls(tuple(MultiLabelModel(member) for member in read_committee(data)))
        return cls(tuple(RegressionModel(_only(member)) for member in read_committee(data)))


AnyCommittee: TypeAlias = Committee | ModelCommittee


def _only(member: tuple[Pipeline | float, ...]) -> Pipeline:
    match member:
        case (Pipeline() as pipeline,):
            return pipeline
    raise ModelFileError("A member of it is no model of numbers.")


def load_committee(data: bytes, *, task: Task, class_count: int) -> AnyCommittee:
    """The committee of a file made by its `dump`.

    Raises:
        ModelFileError: when the file holds anything else.
    """
    if task == "classification":
        return Committee.load(data, class_count=class_count)
    return ModelCommittee.load(data, task=task)


def train_any_committee(request: TrainingRequest, *, count: int, kind: Kind, parallel: Parallel) -> AnyCommittee:
    """Train `count` members in parallel, as `train_committee` does, for any task.

    Bootstrap samples of numbers, and of several classes an example, are drawn from all labels alike.

    Raises:
        ValueError: when labels tell nothing apart.
    """
    if request.task == "classification":
        return train_committee(request, count=count, kind=kind, parallel=parallel)
    with single_threaded(), tolerant():
        request = settled(replace(request, learnt=request.learnt or learn(request)))
        models = tuple(parallel.map(train, [_member(request, number, kind) for number in range(count)]))
    return ModelCommittee(tuple(model for model in models if isinstance(model, MultiLabelModel | RegressionModel)))


def _member(request: TrainingRequest, number: int, kind: Kind) -> TrainingRequest:
    rng = np.random.default_rng([request.seed, number])
    member, kinds = replace(request, seed=int(rng.integers(2**32))), _KINDS[request.task]
    if kind == "estimators":
        member = replace(member, estimator=kinds[number % len(kinds)], params={})
        if number < len(kinds):
            return member
    rows = _bootstrap_rows(request, rng)
    return member.only(rows)


def _bootstrap_rows(request: TrainingRequest, rng: np.random.Generator) -> Rows:
    """Rows [n] drawn with replacement, from which something can be learnt; all of them where chance gives no such."""
    count = len(request.y)
    for _ in range(_DRAWS):
        rows: Rows = rng.integers(count, size=count)
        if nothing_to_learn(request.y[rows], request.task) is None:
            return rows
    return np.arange(count)
