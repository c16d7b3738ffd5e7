"""Strategies for numbers as labels: by the spread of predictions, and greedy sampling in input and output space."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Need, Scorer, Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import squared_distances
from workers.learning.ties import random_subset, tie_keys

_LABELS = 5_000
_OCTAVES = 150.0  # float32 has 149 below 1 and 128 above
_TINY = 1e-30


def on_scale(figures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Figures [n] of any size, at least 0, as scores in [0, 1] of the same order: on a logarithmic scale."""
    tiny = np.float32(2.0**-149)
    scores = (np.log2(np.maximum(figures, tiny)) + np.float32(_OCTAVES)) / np.float32(2 * _OCTAVES)
    return np.asarray(np.clip(scores, 0, 1), dtype=np.float32)


def off_scale(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The figures of such scores."""
    figures: NDArray[np.float64] = np.exp2(scores * (2 * _OCTAVES) - _OCTAVES)
    return figures


@dataclass(frozen=True, slots=True)
class PredictiveDeviation(Scorer):
    """The spread of the prediction: query by committee for numbers (Burbidge et al. 2007). O(n).

    The committee is what the model is made of (the trees of a forest), or the model's own deviation.
    """

    def score(self, block: Block) -> NDArray[np.float32]:
        """Spreads [n], on a logarithmic scale."""
        return on_scale(block.P[:, 1])

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The spreads [n]."""
        return off_scale(scores)


@dataclass(frozen=True, slots=True)
class CommitteeDeviation(Scorer):
    """The deviation of the members' numbers (RayChaudhuri and Hamey 1995; Burbidge et al. 2007). O(n M)."""

    needs: ClassVar[tuple[Need, ...]] = ("committee",)

    def score(self, block: Block) -> NDArray[np.float32]:
        """The deviation [n] of the members' means, on a logarithmic scale."""
        return on_scale(block.members[:, :, 0].std(axis=1, dtype=np.float32))

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The deviations [n]."""
        return off_scale(scores)


@dataclass(frozen=True, slots=True)
class ExpectedModelChange(Scorer):
    """How far a label would move a linear model (Cai, Zhang and Zhou 2013, doi 10.1109/ICDM.2013.104). O(n d).

    The gradient of the squared error is the error times the features; the error that is expected is the spread of the
    prediction, where the paper averages over a bootstrap committee.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")

    def score(self, block: Block) -> NDArray[np.float32]:
        """Spread times length of the features with a constant 1 [n], on a logarithmic scale."""
        lengths = np.sqrt(1 + np.einsum("ij,ij->i", block.X, block.X))
        return on_scale(block.P[:, 1] * lengths)

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The changes [n]."""
        return off_scale(scores)


@dataclass(frozen=True, slots=True)
class _Sampling(Selector):
    """Again and again the candidate whose least figure over all labels and picks is greatest. O(n (m + k) d)."""

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions", "labels")
    max_candidates: int = 10_000

    @abstractmethod
    def _figures(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
        """From squared distances of features and of values, of the same shape, to what is to be large."""

    def select(self, request: SelectionRequest) -> Selection:
        """Pick greedily; the value: the figure at that time."""
        X, mean = request.X, request.P[:, 0].astype(np.float64)
        known = random_subset(np.arange(request.labelled_y.size), _LABELS, request.seed, purpose="labels")
        least = np.full(mean.size, np.inf)
        for x, y in zip(request.labelled_X[known], request.labelled_y[known], strict=True):
            np.minimum(least, self._from(X, mean, x, float(y)), out=least)
        order = np.argsort(tie_keys(request.rows, request.seed))
        picked: list[int] = []
        values: list[float] = []
        for _ in range(request.count):
            best = int(order[np.argmax(least[order])])
            picked.append(best)
            values.append(float(least[best]))
            np.minimum(least, self._from(X, mean, X[best], mean[best]), out=least)
            least[picked] = -np.inf
        return Selection(np.array(picked, dtype=np.intp), np.array(values), standby=np.maximum(least, -_TINY))

    def _from(
        self, X: NDArray[np.float32], mean: NDArray[np.float64], x: NDArray[np.float32], y: float
    ) -> NDArray[np.float64]:
        dx = squared_distances(X, x[np.newaxis]).ravel().astype(np.float64)
        return self._figures(np.maximum(dx, 0.0), (mean - y) ** 2)


@dataclass(frozen=True, slots=True)
class GreedyInput(_Sampling):
    """Greedy sampling of the inputs, GSx (Wu, Lin and Huang 2019, arXiv 1808.04245). O(n (m + k) d)."""

    def _figures(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """The distance of the features."""
        return np.asarray(np.sqrt(dx))


@dataclass(frozen=True, slots=True)
class GreedyOutput(_Sampling):
    """Greedy sampling of the outputs, GSy (Wu, Lin and Huang 2019, arXiv 1808.04245). O(n (m + k) d)."""

    def _figures(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """The distance of the values."""
        return np.asarray(np.sqrt(dy))


@dataclass(frozen=True, slots=True)
class GreedyBoth(_Sampling):
    """Improved greedy sampling, iGS (Wu, Lin and Huang 2019, arXiv 1808.04245), of both. O(n (m + k) d)."""

    def _figures(self, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
        """The product of both distances."""
        return np.asarray(np.sqrt(dx * dy))


@dataclass(frozen=True, slots=True)
class LargestCluster(Selector):
    """Largest cluster maximum distance, LCMD (Holzmueller et al. 2023, JMLR 24(164), arXiv 2203.09410).

    Candidates belong to the nearest label or pick. From the cluster with the greatest sum of squared distances comes
    the candidate farthest from its centre. In the space of the features. O(n (m + k) d).
    """

    needs: ClassVar[tuple[Need, ...]] = ("features",)
    max_candidates: int = 50_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick from the largest cluster, again and again; the value: the distance to the centre."""
        X = request.X
        known = random_subset(np.arange(len(request.labelled_X)), _LABELS, request.seed, purpose="labels")
        centres = request.labelled_X[known] if known.size else X.mean(axis=0, keepdims=True)
        nearest = np.full(len(X), np.inf)
        cluster = np.zeros(len(X), dtype=np.int64)
        for number, centre in enumerate(centres):
            _join(X, centre, number, nearest, cluster)
        order = np.argsort(tie_keys(request.rows, request.seed))
        picked: list[int] = []
        values: list[float] = []
        for number in range(len(centres), len(centres) + request.count):
            sizes = np.bincount(cluster, weights=nearest, minlength=number)
            inside = order[cluster[order] == np.argmax(sizes)] if sizes.max() > 0 else order
            open_ = inside[~np.isin(inside, picked)]
            candidates = open_ if open_.size else order[~np.isin(order, picked)]
            best = int(candidates[np.argmax(nearest[candidates])])
            picked.append(best)
            values.append(float(np.sqrt(nearest[best])))
            _join(X, X[best], number, nearest, cluster)
        return Selection(np.array(picked, dtype=np.intp), np.array(values), standby=nearest)


def _join(
    X: NDArray[np.float32],
    centre: NDArray[np.float32],
    number: int,
    nearest: NDArray[np.float64],
    cluster: NDArray[np.int64],
) -> None:
    """Let the rows that are nearer to a new centre than to all before belong to it."""
    squares = np.maximum(squared_distances(X, centre[np.newaxis]).ravel(), 0.0)
    nearer = squares < nearest
    nearest[nearer] = squares[nearer]
    cluster[nearer] = number


SCORERS: Mapping[str, type[Scorer]] = {
    "predictive_deviation": PredictiveDeviation,
    "committee_deviation": CommitteeDeviation,
    "expected_model_change": ExpectedModelChange,
}

SELECTORS: Mapping[str, type[Selector]] = {
    "greedy_x": GreedyInput,
    "greedy_y": GreedyOutput,
    "greedy_xy": GreedyBoth,
    "lcmd": LargestCluster,
}
