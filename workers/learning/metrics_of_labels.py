"""How good a model is whose examples have any number of classes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from workers.learning.metric import Metric, flawless, wilson_interval
from workers.learning.resampling import bootstrap_interval

THRESHOLD = 0.5
_LEAST_PROBABILITY = 1e-7


def evaluate_labels(P: NDArray[np.float32], Y: NDArray[np.int64], rng: np.random.Generator) -> Mapping[str, Metric]:
    """Measure probabilities `P` [n, classes] of each class by itself against `Y` [n, classes], 1 where it applies.

    A class is predicted from 0.5 on. `micro_f1` is over all answers together, `macro_f1` the mean over the classes that
    occur in the truth or the predictions, `subset_accuracy` the share of examples that are right in every class,
    `log_loss` the mean over examples and classes (natural; probabilities of at least 1e-7). Bootstrap intervals, a
    Wilson interval for the share.
    """
    truth, guess = Y.astype(bool), P >= THRESHOLD
    n, classes = truth.shape
    hits = (truth & guess).astype(np.float64)
    either = truth.astype(np.float64) + guess
    exact = int((truth == guess).all(axis=1).sum())
    said = np.where(truth, P, 1 - P).astype(np.float64)
    losses = -np.log(np.maximum(said, _LEAST_PROBABILITY)).mean(axis=1, keepdims=True)

    def micro(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return _ratio(2 * sums[:, 0], sums[:, 1])

    def macro(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        found, occurs = sums[:, :classes], sums[:, classes:] > 0
        f1 = _ratio(2 * found, sums[:, classes:])
        return _ratio(f1.sum(axis=1), occurs.sum(axis=1).astype(np.float64))

    def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(sums[:, 0] / n)

    together = np.column_stack([hits.sum(axis=1), either.sum(axis=1)])
    told = flawless if exact == n else lambda metric: metric
    return {
        "micro_f1": told(Metric(*bootstrap_interval(together, micro, rng), n)),
        "macro_f1": told(Metric(*bootstrap_interval(np.hstack([hits, either]), macro, rng), n)),
        "subset_accuracy": Metric(exact / n, *wilson_interval(exact, n), n),
        "log_loss": Metric(*bootstrap_interval(losses, mean, rng), n),
    }


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 where there is nothing to divide by."""
    ratio: NDArray[np.float64] = np.divide(over, under, out=np.zeros(over.shape), where=under > 0)
    return ratio
