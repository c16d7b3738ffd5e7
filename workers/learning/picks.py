"""Rows in rank order."""

from collections.abc import Sequence
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

    def ordered(self, order: NDArray[np.intp]) -> "Picks":
        """The same in another order."""
        return Picks(self.rows[order], self.scores[order], self.values[order])


def no_picks() -> Picks:
    """None at all."""
    return Picks(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


def joined(parts: Sequence[Picks]) -> Picks:
    """One after the other."""
    if not parts:
        return no_picks()
    rows = np.concatenate([part.rows for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return Picks(rows, scores, np.concatenate([part.values for part in parts]))
