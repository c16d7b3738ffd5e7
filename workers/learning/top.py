"""The best rows of a pool by score, block by block, without holding the pool."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows
from workers.learning.ties import tie_keys

# Scores are compared after rounding, so that the last bits of a sum decide nothing.
_DIGITS = 1e6


@dataclass(frozen=True, slots=True)
class Top:
    """Rows with their scores, best first; equal scores in seeded random order."""

    rows: Rows
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Rows, scores: NDArray[np.floating], count: int, seed: int) -> Self:
        """The best `count` of `rows`."""
        rounded = np.rint(scores.astype(np.float64) * _DIGITS).astype(np.int64)
        if rows.size > count:
            kept = _at_least_best(rounded, count)
            rows, rounded = rows[kept], rounded[kept]
        order = np.lexsort((tie_keys(rows, seed), -rounded))[:count]
        return cls(rows[order], rounded[order] / _DIGITS)

    def merged(self, other: Self, count: int, seed: int) -> Self:
        """The best `count` of both."""
        rows = np.concatenate([self.rows, other.rows])
        return self.of(rows, np.concatenate([self.scores, other.scores]), count, seed)


def _at_least_best(rounded: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Positions of everything that ties with the `count`-th best or beats it."""
    threshold = np.partition(rounded, rounded.size - count)[rounded.size - count]
    return np.flatnonzero(rounded >= threshold)
