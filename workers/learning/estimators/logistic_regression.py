"""Logistic regression whose penalty is chosen on the labels when there are enough of them."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from workers.learning.estimators.folds import stratified_folds
from workers.learning.estimators.preprocessing import Preprocessed

DEFAULT_C = 10.0
GRID_C = (0.1, 1000.0)
FOLDS = 3
MIN_LABELS_PER_CLASS = 10
MAX_ROWS = 4_000
MAX_ITERATIONS = (200, 2_000)


def fit_logistic_regression(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[LogisticRegression, dict[str, Any]]:
    """Fit with the given C, or with one chosen by cross-validated log-loss.

    Rows come in scaled to a mean squared length of 1, where C = 10 is a good penalty for pixels, embeddings, tables and
    TF-IDF alike. With an average of ten labels per class, held-out log-loss is steady enough to do better than that
    constant; with fewer, the choice would follow the noise of a few rows.
    """
    C = params.get("C")
    weight = params.get("class_weight")
    if C is None:
        C = _choose_c(prepared.X, y, weight, np.random.default_rng(seed))
    model, converged = _fit(prepared.X, y, C, weight, MAX_ITERATIONS)
    return model, {"C": C, "converged": converged}


def _fit(
    X: Any, y: NDArray[np.int64], C: float, weight: str | None, limits: tuple[int, ...]
) -> tuple[LogisticRegression, bool]:
    """Fit by L-BFGS, again with more iterations when the first limit was too low; the flag: whether it converged."""
    model = LogisticRegression(C=C, class_weight=weight)
    for limit in limits:
        model.set_params(max_iter=limit)
        with warnings.catch_warnings():
            # The loop and the returned flag are the answer to this warning.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        if model.n_iter_.max() < limit:
            return model, True
    return model, False


def _choose_c(X: Any, y: NDArray[np.int64], weight: str | None, rng: np.random.Generator) -> float:
    """Climb `GRID_C` from the default while held-out log-loss falls by more than its standard error."""
    counts = np.bincount(y)
    if y.size < MIN_LABELS_PER_CLASS * np.count_nonzero(counts) or np.sum(counts >= FOLDS) <= 1:
        return DEFAULT_C
    rows = np.flatnonzero(counts[y] > 1)  # a class's only row cannot be both trained on and held out
    if rows.size > MAX_ROWS:
        rows = np.sort(rng.choice(rows, size=MAX_ROWS, replace=False))
    X, y = X[rows], y[rows]
    folds = stratified_folds(y, FOLDS, rng)
    best, best_losses = DEFAULT_C, _held_out_losses(X, y, folds, DEFAULT_C, weight)
    for direction in (10.0, 0.1):
        while GRID_C[0] <= best * direction <= GRID_C[1]:
            losses = _held_out_losses(X, y, folds, best * direction, weight)
            gain = best_losses - losses
            if gain.mean() <= gain.std() / np.sqrt(gain.size):
                break
            best, best_losses = best * direction, losses
    return best


def _held_out_losses(
    X: Any, y: NDArray[np.int64], folds: NDArray[np.int64], C: float, weight: str | None
) -> NDArray[np.float64]:
    """Log-loss of each row [n]; a class that a fold's training rows lack counts as improbable, not impossible."""
    true_class = np.zeros(y.size)
    for fold in range(FOLDS):
        held_out = np.flatnonzero(folds == fold)
        model, _ = _fit(X[folds != fold], y[folds != fold], C, weight, MAX_ITERATIONS[:1])
        column = np.searchsorted(model.classes_, y[held_out]).clip(max=model.classes_.size - 1)
        known = model.classes_[column] == y[held_out]
        P = model.predict_proba(X[held_out])
        true_class[held_out] = np.where(known, P[np.arange(column.size), column], 0.0)
    losses: NDArray[np.float64] = -np.log(np.maximum(true_class, 1e-6))
    return losses
