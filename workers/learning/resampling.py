"""Intervals of figures that are made of sums over rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1_000
_NUMBERS_AT_ONCE = 2**22


def bootstrap_interval(
    rows: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], NDArray[np.float64]], rng: np.random.Generator
) -> tuple[float, float, float]:
    """A figure and its 95 % percentile interval (Efron 1979), which holds the figure itself.

    Args:
        rows: what each row adds to the sums [n, m].
        figure: from the sums of some resamples [r, m] to the figure of each [r].
        rng: draws how often each row is in each resample.
    """
    count = len(rows)
    value = float(figure(rows.sum(axis=0, keepdims=True))[0])
    step = max(1, _NUMBERS_AT_ONCE // count)
    found = []
    for first in range(0, _RESAMPLES, step):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(step, _RESAMPLES - first))
        found.append(figure(times @ rows))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return value, min(float(low), value), max(float(high), value)
