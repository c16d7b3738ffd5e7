"""How good a model of numbers is."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from workers.learning.metric import Metric
from workers.learning.resampling import bootstrap_interval


def evaluate_numbers(P: NDArray[np.float32], y: NDArray[np.float64], rng: np.random.Generator) -> Mapping[str, Metric]:
    """Measure means and spreads `P` [n, 2] against values `y` [n].

    `r2` is the share of the variance that is explained (0 where there is none), `mae` the mean absolute and `rmse` the
    root of the mean squared error, `coverage` the share of values within 1.96 spreads of the mean, which is 0.95 where
    spreads are right. Bootstrap intervals.
    """
    n = y.size
    centred = y - y.mean()
    errors = y - P[:, 0].astype(np.float64)
    inside = np.abs(errors) <= 1.96 * P[:, 1]

    def r2(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        variance = sums[:, 1] - sums[:, 2] ** 2 / n
        explained: NDArray[np.float64] = np.divide(
            sums[:, 0], variance, out=np.ones(len(sums)), where=variance > np.finfo(np.float64).tiny
        )
        return 1 - explained

    def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(sums[:, 0] / n)

    def root(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(sums[:, 0] / n))

    squares = (errors**2)[:, np.newaxis]
    return {
        "r2": Metric(*bootstrap_interval(np.column_stack([errors**2, centred**2, centred]), r2, rng), n),
        "mae": Metric(*bootstrap_interval(np.abs(errors)[:, np.newaxis], mean, rng), n),
        "rmse": Metric(*bootstrap_interval(squares, root, rng), n),
        "coverage": Metric(*bootstrap_interval(inside[:, np.newaxis].astype(np.float64), mean, rng), n),
    }
