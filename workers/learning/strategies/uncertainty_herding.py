"""Uncertainty herding: coverage of the pool, weighted by how uncertain its examples are."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Need, Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import squared_distances
from workers.learning.strategies.greedy import Gaussian, herd
from workers.learning.strategies.uncertainty import Margin
from workers.learning.ties import random_subset, tie_keys

_LABELS = 2_000
_HOTTEST = 20.0
_SAME = 1e-4  # squared distances; rows have a mean squared length of 1, so of much less than this all is rounding
_QUANTILE = 0.1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What labels tell about the place that they are in.

    Attributes:
        accuracy: how often the nearest other label is the same, drawn to chance where labels are few.
        radius: a small distance between labels that are nearest to each other.
    """

    accuracy: float
    radius: float


def surroundings(X: NDArray[np.float32], y: NDArray[np.int64], classes: int) -> Surroundings:
    """Look around each labelled row `X` [m, d] with class `y` [m]."""
    hits, radius = 0, 1.0
    if y.size > 1:
        squares = squared_distances(X, X)
        np.fill_diagonal(squares, np.inf)
        hits = int(np.count_nonzero(y[squares.argmin(axis=1)] == y))
        squares[squares < _SAME] = np.inf
        nearest = squares.min(axis=1)
        if np.isfinite(nearest).any():
            radius = float(np.sqrt(np.quantile(nearest[np.isfinite(nearest)], _QUANTILE)))
    return Surroundings((hits + 1) / (y.size + classes), radius)


def tempered(P: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Softmax of the logits of `P` [n, classes] divided by `temperature`."""
    logits = np.log(np.maximum(P, np.finfo(np.float32).tiny)) / np.float32(temperature)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    cooled: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return cooled


def calibrated_temperature(P: NDArray[np.float32], accuracy: float) -> float:
    """The least temperature in [1, 20] at which the mean confidence over `P` is not above `accuracy`."""
    low, high = 1.0, _HOTTEST
    if tempered(P, low).max(axis=1).mean() <= accuracy:
        return low
    for _ in range(12):
        middle = (low + high) / 2
        if tempered(P, middle).max(axis=1).mean() <= accuracy:
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True)
class UncertaintyHerding(Selector):
    """Greedy coverage weighted by uncertainty (Bae, Oliveira and Sutherland 2025, arXiv 2412.20644).

    Maximises sum_i u_i max_j exp(-(|x_i - x_j| / radius)^2) over candidates i, for labels and picks j, with u = 1 -
    margin of the tempered probabilities. Few labels: a high temperature makes all u alike, which is plain coverage;
    many labels: a small radius leaves each candidate alone with its u, which is plain margin.

    Where it differs from the paper: a query has no validation set whose calibration error a temperature could minimise.
    So the default is 1, for models whose probabilities can be believed; None brings the mean confidence down to the
    accuracy of the nearest label among the labels, for those that are too sure. And the radius is the lowest decile of
    the distances between nearest labels, where the paper takes the least of all, which one pair of near copies would
    bring to nothing. O(n^2 d log k) for n candidates, O(n) memory; as in the paper, of a larger pool a random sample
    takes part.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    temperature: float | None = 1.0
    radius: float | None = None
    max_candidates: int = 10_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick what adds most; the value: the share of all uncertainty that it newly covers."""
        known = np.arange(request.labelled_y.size, dtype=np.int64)
        known = random_subset(known, _LABELS, request.seed, purpose="radius")
        around = surroundings(request.labelled_X[known], request.labelled_y[known], request.classes)
        temperature = self.temperature or calibrated_temperature(request.P, around.accuracy)
        uncertainty = Margin().score(Block(P=tempered(request.P, temperature)))
        return herd(
            request.X,
            request.X,
            kernel=Gaussian((self.radius or around.radius) / np.sqrt(2)),
            count=request.count,
            ties=tie_keys(request.rows, request.seed),
            weights=uncertainty.astype(np.float64),
            centres=request.labelled_X,
            parallel=request.parallel,
        )
