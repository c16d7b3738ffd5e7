"""Selectors that cover the pool: each pick adds most to what the labels and picks before it cover."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import k_means, lowered, row_squares, squared_distances
from workers.learning.strategies.greedy import Ball, Gaussian, Kernel, herd
from workers.learning.ties import random_subset, tie_keys

_PAIRS = 1_000
_PURE = 10_000


@dataclass(frozen=True, slots=True)
class ProbCover(Selector):
    """Balls of one radius that cover the most (Yehuda, Dekel, Hacohen and Weinshall 2022, arXiv 2205.11320).

    Without a `radius`, it is the largest at which 95 % of the balls around 10,000 candidates are pure, by the
    pseudo-labels of k-means with as many clusters as classes: the paper's rule, exact instead of on a grid. Greedy
    coverage is exact on n <= `max_candidates`, measured on at most m = `reference` of them. O(n m d): each point is
    covered once. Of 50,000 rows of 64 columns, 100 picks cover 99 % of what exact greedy on all rows covers where
    clusters are clear; 67 to 77 % in clouds without any, whose radius is so small that exact greedy covers 3 to 5 %.
    """

    radius: float | None = None
    max_candidates: int = 20_000
    reference: int = 20_000
    purity: float = 0.95

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate whose ball holds most uncovered points, again and again; the value: their share."""
        radius = self.radius or pure_radius(_drawn(request, _PURE), max(request.classes, 2), self.purity, request.seed)
        return _herded(request, _drawn(request, self.reference), Ball(radius))


@dataclass(frozen=True, slots=True)
class MaxHerding(Selector):
    """Greedy generalised coverage with a Gaussian kernel (Bae, Noh and Sutherland 2024, arXiv 2407.12212).

    Without a `bandwidth`, likeness falls to 1/e at the median distance of two candidates; the paper's fixed figure
    does about this on its features of unit length. Coverage is measured on m = `reference` candidates drawn at random.
    O(n m d log k) for n <= `max_candidates`. Of 50,000 rows of 64 columns, 100 picks reach 98.7 to 99.6 % of the
    coverage of exact greedy on all rows (random picks: 89 to 98 %).
    """

    bandwidth: float | None = None
    max_candidates: int = 20_000
    reference: int = 5_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate that adds most to the coverage, again and again; the value: what it adds, in [0, 1]."""
        reference = _drawn(request, self.reference)
        return _herded(request, reference, Gaussian(self.bandwidth or median_bandwidth(reference)))


def _drawn(request: SelectionRequest, count: int) -> NDArray[np.float32]:
    """At most `count` candidates, drawn at random."""
    drawn = random_subset(request.rows, count, request.seed, purpose="cover")
    return request.X[np.searchsorted(request.rows, drawn)]


def _herded(request: SelectionRequest, reference: NDArray[np.float32], kernel: Kernel) -> Selection:
    return herd(
        request.X,
        reference,
        kernel=kernel,
        count=request.count,
        ties=tie_keys(request.rows, request.seed),
        centres=request.labelled_X,
        parallel=request.parallel,
    )


def median_bandwidth(reference: NDArray[np.float32]) -> float:
    """The bandwidth at which a Gaussian kernel is 1/e at the median distance of the rows [m, d]."""
    some = reference[np.unique(np.linspace(0, reference.shape[0] - 1, _PAIRS).astype(np.intp))]
    squares = squared_distances(some, some)[~np.eye(some.shape[0], dtype=bool)]
    return _positive(float(np.sqrt(np.median(squares) / 2)) if squares.size else 0.0)


def pure_radius(reference: NDArray[np.float32], clusters: int, purity: float, seed: int) -> float:
    """The largest radius at which a share `purity` of the balls around the rows [m, d] hold one cluster only."""
    cluster, _ = k_means(reference, clusters, seed)
    squares = row_squares(reference)
    impure = np.full(reference.shape[0], np.inf, dtype=np.float32)
    for code in np.unique(cluster):
        own = cluster == code
        impure[own] = lowered(impure[own], reference[own], squares[own], reference[~own])
    # Rows that come in `impure` at most at the radius are impure: these may be as many as the purity leaves.
    limit = np.sort(impure)[int((1 - purity) * impure.size)]
    if not np.isfinite(limit):  # a single cluster: one ball around any row holds all
        limit = squared_distances(reference, reference[:1]).max() * 4
    return _positive(float(np.nextafter(np.sqrt(limit), np.float32(0))))


def _positive(width: float) -> float:
    """The width; 1 when all rows are in one place, where any does."""
    return width if width > 0 else 1.0
