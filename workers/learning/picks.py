"""Rows in rank order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows


@dataclass(frozen=True, slots=True)
class Picks:
    """Rows in rank order [m] with their scores and the strategy's own values; NaN where it has none."""

    rows: Rows
    scores: NDArray[np.float64]
    values: NDArray[np.float64]


def no_picks() -> Picks:
    """None at all."""
    return Picks(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))
