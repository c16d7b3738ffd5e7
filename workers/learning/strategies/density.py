"""Scorers of how typical a row is of the pool."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Need, Scorer, nothing
from workers.learning.strategies.geometry import lifted, polar, squared_distances

_PROBES = 500
_NUMBERS_AT_ONCE = 2**18


@dataclass(frozen=True, slots=True)
class Density(Scorer):
    """Gaussian kernel density: mean likeness to a random sample of the pool (Settles and Craven 2008, section 3.4).

    Its bandwidth is the median distance from a row to its sqrt(m)-th nearest of the m = `reference` sampled rows
    (Loftsgaarden and Quesenberry 1965, doi 10.1214/aoms/1177700079), times `bandwidth`. O(n m d).
    """

    needs: ClassVar[tuple[Need, ...]] = ("features",)
    bandwidth: float = 1.0
    reference: int = 2_000
    opposite: NDArray[np.float32] = field(default_factory=nothing)

    def prepared(self, reference: NDArray[np.float32]) -> Self:
        """Take the sample [m, d] and learn the bandwidth from it."""
        sample = _spread(reference, self.reference)
        squares = squared_distances(_spread(sample, _PROBES), sample)
        neighbour = min(math.isqrt(sample.shape[0]), sample.shape[0] - 1)
        distance = float(np.median(np.sqrt(np.partition(squares, neighbour, axis=1)[:, neighbour])))
        width = self.bandwidth * distance or 1.0  # all rows in one place: any width
        # The factor makes the product of both sides the exponent.
        return replace(self, opposite=polar(sample) * np.float32(-0.5 / width**2))

    def score(self, block: Block) -> NDArray[np.float32]:
        """The mean likeness [n]; in [0, 1], 1 when all rows are equal."""
        X = lifted(block.X)
        scores = np.empty(X.shape[0], dtype=np.float32)
        size = max(_NUMBERS_AT_ONCE // self.opposite.shape[0], 1)
        for start in range(0, X.shape[0], size):
            likeness = X[start : start + size] @ self.opposite.T
            np.exp(likeness, out=likeness)
            scores[start : start + size] = likeness.mean(axis=1)
        return np.minimum(scores, np.float32(1))


def _spread(X: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most `count` of the rows, evenly spread over them."""
    return X[np.unique(np.linspace(0, X.shape[0] - 1, count).astype(np.intp))]
