"""From labelled rows to a trained model."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from workers.learning.estimators.logistic_regression import fit_logistic_regression
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.multi_label import MultiLabelModel
from workers.learning.estimators.preprocessing import Background, Preprocessed, learn_background
from workers.learning.estimators.random_forest import fit_random_forest
from workers.learning.estimators.regression import RegressionModel, fit_regressor
from workers.learning.matrices import Matrix
from workers.learning.parallel import single_threaded
from workers.learning.tasks import Task

Fit = Callable[[Preprocessed, NDArray[np.int64], Mapping[str, Any], int], tuple[Any, dict[str, Any]]]

_FITS: Mapping[str, Fit] = {
    "logistic_regression": fit_logistic_regression,
    "random_forest": fit_random_forest,
}

ESTIMATOR_NAMES = tuple(_FITS)

DEFAULT_LATENT = 64

Trained: TypeAlias = TrainedModel | MultiLabelModel | RegressionModel
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Everything that a model depends on; the same request gives the same model.

    Attributes:
        X: labelled rows [n, d], in an order that the caller fixes.
        y: codes into `classes` [n]; for `multi_label` whether each class applies [n, classes]; for `regression` values.
        classes: the project's classes in their order.
        task: what `y` holds.
        params: as resolved by the catalogue, or the `hyper_parameters` of an earlier model.
        background: a seeded sample of pool rows, to learn scales, IDF and latent semantics from; None: scales and IDF
            are learnt from `X` alone.
        learnt: what `learn` made of the background; None: it is learnt again.
        text: `X` holds hashed term counts.
    """

    X: Matrix
    y: NDArray[Any]
    classes: Sequence[str]
    task: Task = "classification"
    estimator: str = "logistic_regression"
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    background: Matrix | None = None
    learnt: Background | None = None
    text: bool = False


def train(request: TrainingRequest) -> Trained:
    """Train the request's estimator.

    Raises:
        ValueError: when labels tell nothing apart (see `nothing_to_learn`).
    """
    if (reason := nothing_to_learn(request.y, request.task)) is not None:
        raise ValueError(f"There is nothing to learn: {reason}.")
    with single_threaded(), tolerant():
        return _TRAIN[request.task](request, prepare(request))


def nothing_to_learn(y: NDArray[Any], task: Task) -> str | None:
    """Why no model can be trained on these labels, or None."""
    if len(y) < _FEWEST:
        return "too_few_labels"
    if task == "multi_label":
        return None if np.any(y.min(axis=0) != y.max(axis=0)) else "one_class"
    return "one_class" if task == "classification" and np.unique(y).size == 1 else None


def _train_classes(request: TrainingRequest, prepared: Preprocessed) -> TrainedModel:
    estimator, chosen = fit(request, prepared)
    return TrainedModel(
        pipeline=Pipeline([*prepared.steps, ("estimator", estimator)]),
        class_count=len(request.classes),
        hyper_parameters={**request.params, **prepared.chosen, **chosen},
    )


def _train_labels(request: TrainingRequest, prepared: Preprocessed) -> MultiLabelModel:
    """One model for each class; what is chosen on the data is chosen for the one whose labels differ most."""
    Y = np.asarray(request.y, dtype=np.int64)
    positive = Y.sum(axis=0)
    members: list[Pipeline | float] = [float((count + 1) / (len(Y) + 2)) for count in positive]
    params = dict(request.params)
    chosen: dict[str, Any] = {}
    for code in np.argsort(np.abs(2 * positive - len(Y)), kind="stable"):
        if 0 < positive[code] < len(Y):
            estimator, found = fit(replace(request, y=Y[:, code], params=params), prepared)
            chosen = chosen or found
            params |= chosen
            members[code] = Pipeline([*prepared.steps, ("estimator", estimator)])
    return MultiLabelModel(tuple(members), {**request.params, **prepared.chosen, **chosen})


def _train_numbers(request: TrainingRequest, prepared: Preprocessed) -> RegressionModel:
    values = np.asarray(request.y, dtype=np.float64)
    regressor, chosen = fit_regressor(request.estimator, prepared, values, request.params, request.seed)
    pipeline = Pipeline([*prepared.steps, ("estimator", regressor)])
    return RegressionModel(pipeline, {**request.params, **prepared.chosen, **chosen})


_TRAIN: Mapping[Task, Callable[[TrainingRequest, Preprocessed], Trained]] = {
    "classification": _train_classes,
    "multi_label": _train_labels,
    "regression": _train_numbers,
}


def load_model(data: bytes, *, task: Task, class_count: int) -> Trained:
    """The model of a file made by its `dump`.

    Raises:
        skops.io.exceptions.UntrustedTypesFoundException: when the file holds any other type than a model's.
    """
    if task == "multi_label":
        return MultiLabelModel.load(data)
    return RegressionModel.load(data) if task == "regression" else TrainedModel.load(data, class_count=class_count)


def prepare(request: TrainingRequest) -> Preprocessed:
    """Fit the steps before the estimator, which do not look at labels."""
    return (request.learnt or learn(request)).prepare(request.X)


def learn(request: TrainingRequest) -> Background:
    """Learn what needs no labels; several trainings on the same pool can share it as their `learnt`."""
    alone = request.background is None
    with single_threaded():
        return learn_background(
            request.X if request.background is None else request.background,
            text=request.text,
            scaling=_scaling(request),
            latent=0 if alone else request.params.get("latent", DEFAULT_LATENT),
        )


def fit(request: TrainingRequest, prepared: Preprocessed) -> tuple[Any, dict[str, Any]]:
    """Fit the request's estimator to `y` and the rows of `prepared`; with the parameters that it chose."""
    return _FITS[request.estimator](prepared, np.asarray(request.y, dtype=np.int64), request.params, request.seed)


@contextmanager
def tolerant() -> Iterator[None]:
    """Ignore warnings of classes with few labels, which are still classes, and of fits that ended too early.

    The estimators look at the latter themselves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        yield


def _scaling(request: TrainingRequest) -> Any:
    # Trees do not care for the units of a column.
    return None if request.estimator == "random_forest" else request.params.get("scaling", "auto")
