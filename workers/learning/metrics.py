"""How good a model is, with intervals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.calibration import expected_calibration_error
from workers.learning.estimators.folds import group_count, stratified_folds
from workers.learning.estimators.training import TrainingRequest, learn, nothing_to_learn, tolerant, train
from workers.learning.matrices import Rows
from workers.learning.metric import Metric, Z, flawless, wilson_interval
from workers.learning.metrics_of_labels import evaluate_labels
from workers.learning.metrics_of_numbers import evaluate_numbers
from workers.learning.parallel import Parallel
from workers.learning.tasks import Task

_RESAMPLES = 1_000
_LEAST_PROBABILITY = 1e-7
_ROWS_TRAINED_ON = 8_000


def evaluate(
    P: NDArray[np.float32], y: NDArray[Any], rng: np.random.Generator, *, task: Task = "classification"
) -> Mapping[str, Metric]:
    """Measure predictions `P` against labels `y`, both as the task has them.

    Raises:
        ValueError: when there are no rows.
    """
    if len(y) == 0:
        raise ValueError("Metrics need at least one row.")
    return _EVALUATE[task](P, y, rng)


def evaluate_classes(P: NDArray[np.float32], y: NDArray[np.int64], rng: np.random.Generator) -> Mapping[str, Metric]:
    """Measure probabilities `P` [n, classes] against codes `y` [n].

    `accuracy` has a Wilson interval, `macro_f1` (over the classes that occur in the truth or the predictions) and
    `balanced_accuracy` (the mean recall of the classes that occur in the truth) bootstrap percentile intervals,
    `log_loss` (natural; probabilities of at least 1e-7) a normal one, `calibration_error` (expected, of the predicted
    class, in bins of equal mass) a basic bootstrap one.
    """
    predicted = P.argmax(axis=1)
    correct = int(np.sum(predicted == y))
    return {
        "accuracy": Metric(correct / y.size, *wilson_interval(correct, y.size), y.size),
        **_over_classes(predicted, y, P.shape[1], rng),
        "log_loss": _log_loss(P, y),
        "calibration_error": Metric(*expected_calibration_error(P, y, rng), y.size),
    }


_EVALUATE: Mapping[Task, Callable[[NDArray[np.float32], NDArray[Any], np.random.Generator], Mapping[str, Metric]]] = {
    "classification": evaluate_classes,
    "multi_label": evaluate_labels,
    "regression": evaluate_numbers,
}


def cross_validated_probabilities(
    request: TrainingRequest, folds: int, parallel: Parallel | None = None
) -> NDArray[np.float32]:
    """Out-of-fold predictions [n, columns of the task] of the request's own rows.

    By at most `folds` models, which are trained on 8,000 rows in all, or on n when that is more: beyond 2,000 rows
    folds are larger, down to two halves, so that measuring never takes much longer than the training.

    Pass the `hyper_parameters` of the trained model as `params`, so that nothing is chosen again in each fold. Actively
    picked rows are harder than the pool, so figures from these are biased. A class with one example is unknown to the
    model that judges it and gets 0; where the other folds know one class only, that class gets 1.

    Raises:
        ValueError: with fewer than two rows, or groups.
    """
    y = np.asarray(request.y)
    most = group_count(request.groups, len(y))
    if most <= 1:
        raise ValueError("Cross-validation needs at least two rows, of two groups.")
    folds = min(folds, most, max(2, 1 + _ROWS_TRAINED_ON // len(y)))
    # Only single classes can be dealt out evenly.
    strata = y if request.task == "classification" else np.zeros(len(y), dtype=np.int64)
    fold_of = stratified_folds(strata, folds, np.random.default_rng(request.seed), request.groups)
    request = replace(request, y=y, learnt=request.learnt or learn(request))
    held_out = [np.flatnonzero(fold_of == fold) for fold in range(folds)]
    P = np.zeros((len(y), 2 if request.task == "regression" else len(request.classes)), dtype=np.float32)
    # Threads share Python's warning filters: the outermost change of them is the one that is undone.
    with tolerant():
        for rows, found in zip(held_out, (parallel or Parallel()).map(_HeldOut(request), held_out), strict=True):
            P[rows] = found
    return P


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """Probabilities of some of the request's rows by a model of the others, as an object that joblib can send."""

    request: TrainingRequest

    def __call__(self, rows: Rows) -> NDArray[np.float32]:
        request = self.request
        rest = np.setdiff1d(np.arange(len(request.y)), rows, assume_unique=True)
        if nothing_to_learn(request.y[rest], request.task):
            return np.tile(_constant(request.y[rest], request), (rows.size, 1))
        return train(request.only(rest)).predictions(request.X[rows])


def _constant(y: NDArray[Any], request: TrainingRequest) -> NDArray[np.float32]:
    """The prediction [columns] of labels that tell nothing apart: what they all say."""
    if request.task == "regression":
        return np.array([y.mean(), 0.0], dtype=np.float32)
    only = np.zeros(len(request.classes), dtype=np.float32)
    only[y[0].astype(bool) if request.task == "multi_label" else y[0]] = 1.0
    return only


def _over_classes(
    predicted: NDArray[np.intp], y: NDArray[np.int64], classes: int, rng: np.random.Generator
) -> Mapping[str, Metric]:
    """Resampling rows is drawing the confusion matrix from a multinomial, at the same cost for any number of rows."""
    cells, counts = np.unique(y * classes + predicted, return_counts=True)
    truth, guess = np.divmod(cells, classes)
    draws = np.vstack([counts, rng.multinomial(y.size, counts / y.size, size=_RESAMPLES)])
    present = np.union1d(truth, guess)
    hits = _per_class(draws * (truth == guess), truth, present)
    actual, claimed = _per_class(draws, truth, present), _per_class(draws, guess, present)
    made = {
        "macro_f1": _resampled(_mean_ratio(2 * hits, actual + claimed), y.size),
        "balanced_accuracy": _resampled(_mean_ratio(hits, actual), y.size),
    }
    return {name: flawless(metric) if np.array_equal(truth, guess) else metric for name, metric in made.items()}


def _mean_ratio(over: NDArray[np.int64], under: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean [draws] over the classes [draws, classes] that have something under the line."""
    occurs = under > 0
    ratios = np.divide(over, under, out=np.zeros(over.shape), where=occurs)
    means: NDArray[np.float64] = ratios.sum(axis=1) / occurs.sum(axis=1)
    return means


def _resampled(figures: NDArray[np.float64], n: int) -> Metric:
    """The first figure with the percentile interval of the others, which holds it."""
    low, high = np.quantile(figures[1:], [0.025, 0.975])
    value = float(figures[0])
    return Metric(value, min(float(low), value), max(float(high), value), n)


def _per_class(draws: NDArray[np.int64], code: NDArray[np.int64], present: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts [draws, present] summed over the cells of each class."""
    totals: NDArray[np.int64] = draws @ (code[:, np.newaxis] == present).astype(np.int64)
    return totals


def _log_loss(P: NDArray[np.float32], y: NDArray[np.int64]) -> Metric:
    losses = -np.log(np.maximum(P[np.arange(y.size), y].astype(np.float64), _LEAST_PROBABILITY))
    value = float(losses.mean())
    half = Z * float(losses.std(ddof=min(1, y.size - 1))) / math.sqrt(y.size)
    return Metric(value, max(0.0, value - half), value + half, y.size)
