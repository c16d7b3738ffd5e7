"""Strategies that look at the features alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Scorer, Selection, SelectionRequest, Selector
from workers.learning.strategies.clusters import KMeansCentroids, TypiClust
from workers.learning.strategies.coverage import MaxHerding, ProbCover
from workers.learning.strategies.density import Density
from workers.learning.strategies.geometry import squared_distances
from workers.learning.strategies.greedy import farthest_first
from workers.learning.ties import random_subset, tie_keys

_MOST_PAIRS = 2**30


@dataclass(frozen=True, slots=True)
class KCenter(Selector):
    """Core-set by the greedy k-center rule (Sener and Savarese 2018, arXiv 1708.00489), exact.

    Labelled rows are the first centres: m <= 2**30 / n of them, drawn at random if there are more. O(n (m + k) d).
    """

    max_candidates: int = 1_000_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick, again and again, the candidate farthest from all labels and picks so far; the value: that distance."""
        X, labelled = request.X, request.labelled_X
        most = max(_MOST_PAIRS // X.shape[0], 1)
        if labelled.shape[0] > most:
            labelled = labelled[random_subset(np.arange(labelled.shape[0]), most, request.seed, purpose="centres")]
        # With nothing to be far from, the most central example comes first.
        ties = tie_keys(request.rows, request.seed)
        central = None if labelled.shape[0] else _central(X, ties)
        found = farthest_first(
            X,
            labelled,
            count=request.count,
            ties=ties,
            start=central,
            parallel=request.parallel,
        )
        return Selection(found.positions, np.sqrt(found.values), found.standby)


def _central(X: NDArray[np.float32], ties: NDArray[np.uint64]) -> int:
    """The row of `X` [n, d] nearest to the mean; of equally near ones (to about six digits) the smallest tie."""
    squares = squared_distances(X, X.mean(axis=0, keepdims=True)).ravel()
    nearest = np.flatnonzero(squares <= squares.min() * np.float32(1 + 1e-6))
    return int(nearest[np.argmin(ties[nearest])])


SCORERS: Mapping[str, type[Scorer]] = {"density": Density}

SELECTORS: Mapping[str, type[Selector]] = {
    "k_center": KCenter,
    "kmeans": KMeansCentroids,
    "typiclust": TypiClust,
    "probcover": ProbCover,
    "max_herding": MaxHerding,
}
