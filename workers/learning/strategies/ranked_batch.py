"""Ranked batch mode: unlike what is labelled or picked, and uncertain."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Need, Selection, SelectionRequest, Selector
from workers.learning.strategies.greedy import farthest_first
from workers.learning.strategies.uncertainty import SCORERS
from workers.learning.ties import tie_keys


@dataclass(frozen=True, slots=True)
class _Rank:
    """a (1 - 1 / (1 + distance)) + (1 - a) uncertainty, a = unlabelled / all: a `greedy.Measure`."""

    uncertainty: NDArray[np.float32]
    labelled: int

    def __call__(
        self, squares: NDArray[np.float32], positions: NDArray[np.intp] | slice, picked: int
    ) -> NDArray[np.float32]:
        unlike = 1 - 1 / (1 + np.sqrt(squares))
        share = np.float32((self.uncertainty.size - picked) / self._all())
        rank: NDArray[np.float32] = share * unlike + (1 - share) * self.uncertainty[positions]
        return rank

    def ceiling(self, figure: float, before: int, picked: int) -> float:
        # The share has fallen by (picked - before) / all; at most all of that went from 0 to 1.
        return figure + (picked - before) / self._all()

    def _all(self) -> int:
        return self.uncertainty.size + self.labelled


@dataclass(frozen=True, slots=True)
class RankedBatch(Selector):
    """Ranked batch-mode active learning (Cardoso et al. 2017, doi 10.1016/j.ins.2016.10.037).

    Picks, again and again, the greatest a (1 - s) + (1 - a) u: s = 1 / (1 + distance) to the nearest label or pick, u
    the uncertainty, a the share of the unlabelled in both. Exact, by lazy evaluation: O(n d (m + k)) at most for m
    labels. Without labels the first is the most central candidate: the least mean squared distance to all others,
    where the paper takes the least mean distance.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    uncertainty: str = "least_confident"
    max_candidates: int = 250_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick greedily; the value: the figure of the pick at its time."""
        X, labelled = request.X, request.labelled_X
        scores = SCORERS[self.uncertainty]().score(Block(P=request.P))
        ties = tie_keys(request.rows, request.seed)
        start = None
        if not labelled.shape[0]:
            start = int(np.lexsort((ties, ((X - X.mean(axis=0)) ** 2).sum(axis=1)))[0])
        return farthest_first(
            X,
            labelled,
            count=request.count,
            ties=ties,
            measure=_Rank(scores, labelled.shape[0]),
            start=start,
            parallel=request.parallel,
        )
