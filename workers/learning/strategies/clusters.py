"""Selectors that take one example of each cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import sampled_k_means, squared_distances
from workers.learning.strategies.turns import places
from workers.learning.ties import tie_keys

_NUMBERS_AT_ONCE = 2**18
_SMALL_CLUSTER = 5


@dataclass(frozen=True, slots=True)
class KMeansCentroids(Selector):
    """The candidates nearest to the centroids of k-means (Nguyen and Smeulders 2004, doi 10.1145/1015330.1015349).

    As many clusters as picks, `max_clusters` at most; centroids are fitted on s = 20,000 candidates drawn at random.
    O(s k d) an iteration, then O(n k d).
    """

    compares_labelled: ClassVar[bool] = False
    max_candidates: int = 1_000_000
    max_clusters: int = 500

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate nearest to each centroid, largest clusters first; the value: its distance."""
        count = min(request.count, self.max_clusters)
        cluster, squares = sampled_k_means(request.X, count, request.seed, request.parallel)
        closeness = -np.sqrt(squares.astype(np.float64))
        sizes = np.bincount(cluster, minlength=count)
        place = places(cluster, np.lexsort((tie_keys(request.rows, request.seed), -closeness)))
        positions = np.lexsort((cluster, -sizes[cluster], place))[: request.count]
        return Selection(positions, -closeness[positions], standby=closeness)


@dataclass(frozen=True, slots=True)
class TypiClust(Selector):
    """Typical examples of clusters without labels (Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794).

    As many clusters as labels and picks, `max_clusters` at most, fitted on s = 20,000 rows drawn at random: O(s k d) an
    iteration, then O(n k d). Typicality is measured against at most r = 2,048 members of a row's cluster: O(n r d).
    In larger clusters the neighbours are therefore those of a sample, alike for all members that are compared.
    """

    max_candidates: int = 100_000
    max_clusters: int = 500
    neighbors: int = 20
    max_members: int = 2_048

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the most typical candidate of each cluster, fewest labels and largest first; the value: typicality."""
        X, labelled = request.X, request.labelled_X
        together = np.concatenate([X, labelled]) if labelled.shape[0] else X
        count = min(labelled.shape[0] + request.count, self.max_clusters)
        cluster, _ = sampled_k_means(together, count, request.seed, request.parallel)
        typicality = self._typicality(request, together, cluster)[: X.shape[0]]
        own, taken = cluster[: X.shape[0]], cluster[X.shape[0] :]
        sizes, labels = np.bincount(cluster, minlength=count), np.bincount(taken, minlength=count)
        place = places(own, np.lexsort((tie_keys(request.rows, request.seed), -typicality)))
        # The j-th pick of a cluster has `labels + j` before it, so all picks can be ordered at once.
        # Clusters of fewer than five come after all others, as in the paper: they hold outliers.
        order = np.lexsort((own, -sizes[own], labels[own] + place, sizes[own] < _SMALL_CLUSTER))
        positions = order[: request.count]
        return Selection(positions, typicality[positions], standby=typicality)

    def _typicality(
        self, request: SelectionRequest, X: NDArray[np.float32], cluster: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """The inverse of the mean distance to the nearest neighbours within the row's cluster [n]."""
        typicality = np.zeros(X.shape[0])
        shuffled = np.random.default_rng(request.seed).permutation(X.shape[0])
        groups = [group for group in _groups(cluster, shuffled) if group.size > 1]
        work = _Typicality(X, self.neighbors, self.max_members)
        for group, found in zip(groups, request.parallel.map(work, groups), strict=True):
            typicality[group] = found
        return typicality


@dataclass(frozen=True, slots=True)
class _Typicality:
    """Typicality of the members of one cluster [m], given in random order."""

    X: NDArray[np.float32]
    neighbors: int
    max_members: int

    def __call__(self, members: NDArray[np.intp]) -> NDArray[np.float64]:
        others = self.X[members[: self.max_members]]
        wanted = min(self.neighbors, others.shape[0] - 1)
        size = max(_NUMBERS_AT_ONCE // others.shape[0], 1)
        distance = np.empty(members.size)
        for start in range(0, members.size, size):
            block = members[start : start + size]
            squares = squared_distances(self.X[block], others)
            itself = np.arange(start, min(start + block.size, others.shape[0]))
            squares[itself - start, itself] = np.inf
            squares.partition(wanted - 1, axis=1)
            distance[start : start + block.size] = np.sqrt(squares[:, :wanted]).mean(axis=1)
        return 1.0 / (distance + 1e-6)


def _groups(cluster: NDArray[np.int32], order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The members of each cluster that has any, in the given order."""
    arranged = order[np.argsort(cluster[order], kind="stable")]
    cuts = np.flatnonzero(np.diff(cluster[arranged])) + 1
    return iter(np.split(arranged, cuts))
