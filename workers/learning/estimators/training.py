"""From labelled rows to a trained model."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from workers.learning.estimators.auto import AUTO, FOLDS, SEARCH_ROWS, candidates, candidates_of_numbers, choose
from workers.learning.estimators.folds import stratified_folds
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.multi_label import MultiLabelModel
from workers.learning.estimators.preprocessing import Background, Preprocessed, learn_background
from workers.learning.estimators.registry import ESTIMATORS, form_of
from workers.learning.estimators.regression import RegressionModel
from workers.learning.estimators.regressors import REGRESSORS
from workers.learning.matrices import Matrix, Rows
from workers.learning.parallel import single_threaded
from workers.learning.tasks import Task

DEFAULT_LATENT = 64
DEFAULT_BUDGET_SECONDS = 5.0

_LEAST_PROBABILITY = 1e-6

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
        groups: codes [n] of rows that no fold may part; None: each row is by itself.
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
    groups: NDArray[np.int64] | None = None

    def only(self, rows: Rows) -> Self:
        """Of some of the labelled rows."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], groups=groups)


def train(request: TrainingRequest) -> Trained:
    """Train the request's estimator, or the one that `auto` chooses.

    Raises:
        ValueError: when labels tell nothing apart (see `nothing_to_learn`).
    """
    if (reason := nothing_to_learn(request.y, request.task)) is not None:
        raise ValueError(f"There is nothing to learn: {reason}.")
    with single_threaded(), tolerant():
        request = settled(request)
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
    regressor, chosen = REGRESSORS[request.estimator].fit(prepared, values, request.params, request.seed)
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
        ModelFileError: when the file holds anything else.
    """
    if task == "multi_label":
        return MultiLabelModel.load(data)
    return RegressionModel.load(data) if task == "regression" else TrainedModel.load(data, class_count=class_count)


def settled(request: TrainingRequest) -> TrainingRequest:
    """The request with the estimator that `auto` stands for, which its `params` then tell; others as they are.

    Chosen by cross-validation on at most 2,000 rows, in seconds of processor time: what else the machine does then
    changes the choice less. Rows that are the only ones of their class cannot be judged and are left out.
    """
    if request.estimator != AUTO:
        return request
    if "estimator" in request.params:
        return replace(request, estimator=request.params["estimator"])
    request = replace(request, learnt=request.learnt or learn(request))
    numbers = request.task == "regression"
    names = _numbers_to_compare(request) if numbers else _classes_to_compare(request)
    losses = _HeldOutLosses.of(request)
    choice = choose(
        names if losses.can_tell else names[:1],
        losses,
        budget_seconds=request.params.get("budget_seconds", DEFAULT_BUDGET_SECONDS),
        clock=time.thread_time,
    )
    chosen = choice.as_params("squared_error" if numbers else "log_loss")
    return replace(request, estimator=choice.estimator, params={**request.params, **chosen})


def _classes_to_compare(request: TrainingRequest) -> tuple[str, ...]:
    counts = np.bincount(np.asarray(request.y, dtype=np.int64))
    names = candidates(
        text=request.text,
        labels=int(counts.sum()),
        classes=int(np.count_nonzero(counts)),
        columns=_columns_seen(request),
    )
    return names if np.sum(counts >= FOLDS) > 1 else names[:1]


def _numbers_to_compare(request: TrainingRequest) -> tuple[str, ...]:
    return candidates_of_numbers(labels=len(request.y), columns=_columns_seen(request))


def _columns_seen(request: TrainingRequest) -> int:
    return int(request.params.get("latent", DEFAULT_LATENT) if request.text else request.X.shape[1])


@dataclass(frozen=True, slots=True)
class _HeldOutLosses:
    """The losses of a fold's rows by any estimator that is trained on the others."""

    request: TrainingRequest
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, request: TrainingRequest) -> Self:
        rng = np.random.default_rng(request.seed)
        numbers = request.task == "regression"
        y: NDArray[Any] = np.asarray(request.y, dtype=np.float64 if numbers else np.int64)
        rows = np.arange(y.size) if numbers else np.flatnonzero(np.bincount(y)[y] > 1)
        if rows.size > SEARCH_ROWS:
            rows = np.sort(rng.choice(rows, size=SEARCH_ROWS, replace=False))
        request = replace(request, y=y).only(rows)
        strata = np.zeros(rows.size, dtype=np.int64) if numbers else request.y
        return cls(request, stratified_folds(strata, FOLDS, rng, request.groups))

    @property
    def can_tell(self) -> bool:
        """Whether each fold has rows, and the others something to learn."""
        y, task = self.request.y, self.request.task
        parts = [self.folds == fold for fold in range(FOLDS)]
        return all(part.any() and nothing_to_learn(y[~part], task) is None for part in parts)

    def __call__(self, estimator: str, fold: int) -> NDArray[np.float64]:
        """Log-losses; of numbers squared errors, in units of their variance."""
        X, y = self.request.X, self.request.y
        rest, held_out = np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)
        said = train(replace(self.request, estimator=estimator).only(rest)).predictions(X[held_out])
        losses: NDArray[np.float64]
        if self.request.task == "regression":
            losses = (said[:, 0] - y[held_out]) ** 2 / max(float(np.var(y)), np.finfo(np.float64).tiny)
        else:
            own = said[np.arange(held_out.size), y[held_out]]
            losses = -np.log(np.maximum(own.astype(np.float64), _LEAST_PROBABILITY))
        return losses


def prepare(request: TrainingRequest) -> Preprocessed:
    """Fit the steps before the estimator, which do not look at labels."""
    prepared = (request.learnt or learn(request)).prepare(request.X, form_of(request.estimator, request.task))
    return replace(prepared, groups=request.groups)


def learn(request: TrainingRequest) -> Background:
    """Learn what needs no labels; several trainings on the same pool can share it as their `learnt`."""
    alone = request.background is None
    with single_threaded():
        return learn_background(
            request.X if request.background is None else request.background,
            text=request.text,
            scaling=request.params.get("scaling", "auto"),
            latent=0 if alone else request.params.get("latent", DEFAULT_LATENT),
        )


def fit(request: TrainingRequest, prepared: Preprocessed) -> tuple[Any, dict[str, Any]]:
    """Fit the request's estimator to `y` and the rows of `prepared`; with the parameters that it chose."""
    y = np.asarray(request.y, dtype=np.int64)
    return ESTIMATORS[request.estimator].fit(prepared, y, request.params, request.seed)


@contextmanager
def tolerant() -> Iterator[None]:
    """Ignore warnings of classes with few labels, which are still classes, and of fits that ended too early.

    The estimators look at the latter themselves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        yield
