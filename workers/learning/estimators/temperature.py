"""Probabilities of linear classifiers that only have scores."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from workers.learning.estimators.folds import stratified_folds
from workers.learning.estimators.preprocessing import Preprocessed

_FOLDS = 3
_WIDEST = 5.0  # of the logarithm of a temperature


def with_probabilities(
    make: Callable[[], Any],
    prepared: Preprocessed,
    y: NDArray[np.int64],
    *,
    temperature: float | None,
    rng: np.random.Generator,
) -> tuple[LogisticRegression, float]:
    """Fit what `make` gives, and turn its scores into probabilities by temperature scaling (Guo et al. 2017).

    The softmax of linear scores is the formula of logistic regression, so that is what the model is: as small and as
    fast. `temperature` None: the one with the least log-loss on held-out rows, which the scores of rows that were
    trained on would make too small. Classes with one row cannot be held out and are left out there.
    """
    X = prepared.X
    if temperature is None:
        folds = stratified_folds(y, _FOLDS, rng, prepared.groups)
        temperature = _best_temperature(list(_held_out_scores(make, X, y, folds)))
    fitted = make().fit(X, y)
    model = LogisticRegression()
    model.classes_, model.n_features_in_ = fitted.classes_, X.shape[1]
    model.coef_, model.intercept_ = fitted.coef_ / temperature, fitted.intercept_ / temperature
    model.n_iter_ = np.atleast_1d(fitted.n_iter_)
    return model, temperature


def _held_out_scores(
    make: Callable[[], Any], X: Any, y: NDArray[np.int64], folds: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.intp]]]:
    """Scores [rows, classes] of each fold by a model of the others, and the column of each row's own class."""
    for fold in range(_FOLDS):
        rest = np.flatnonzero(folds != fold)
        held_out = np.flatnonzero((folds == fold) & np.isin(y, y[rest]))
        if np.unique(y[rest]).size > 1 and held_out.size:
            model = make().fit(X[rest], y[rest])
            scores = model.decision_function(X[held_out])
            if scores.ndim == 1:
                scores = np.column_stack([np.zeros_like(scores), scores])
            yield scores, np.searchsorted(model.classes_, y[held_out])


def _best_temperature(folds: list[tuple[NDArray[np.float64], NDArray[np.intp]]]) -> float:
    """The posterior mode under a standard normal prior of the logarithm: 1 without rows, hardly moved by few."""

    def loss(log_temperature: float) -> float:
        total = 0.5 * log_temperature**2
        for scores, own in folds:
            log_p = log_softmax(scores * np.exp(-log_temperature), axis=1)
            total -= float(log_p[np.arange(own.size), own].sum())
        return total

    found = minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return float(np.exp(found.x))
