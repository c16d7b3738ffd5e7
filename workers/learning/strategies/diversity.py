"""Selectors that look at the features alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import k_means, squared_distances

_BLOCK = 2_048


@dataclass(frozen=True, slots=True)
class KCenter(Selector):
    """Core-set by the greedy k-center rule (Sener and Savarese 2018); labelled rows are the first centres. O(n k d)."""

    max_candidates: int = 20_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick, again and again, the candidate farthest from all labels and picks so far; the value: that distance."""
        X, labelled = request.X, request.labelled_X
        squares = np.einsum("ij,ij->i", X, X)
        # With nothing to be far from, the most central example comes first; its distance is no figure.
        nearest = _nearest(X, labelled) if labelled.shape[0] else -_nearest(X, X.mean(axis=0, keepdims=True))
        positions = np.empty(request.count, dtype=np.intp)
        values = np.empty(request.count)
        for i in range(request.count):
            pick = int(np.argmax(nearest))
            first = i == 0 and not labelled.shape[0]
            positions[i], values[i] = pick, np.nan if first else np.sqrt(nearest[pick])
            to_pick = np.maximum(squares - 2 * (X @ X[pick]) + squares[pick], 0)
            nearest = to_pick if first else np.minimum(nearest, to_pick)
            nearest[pick] = -1.0  # below every distance, and no later distance lifts it
        return Selection(positions, values, standby=nearest.astype(np.float64))


@dataclass(frozen=True, slots=True)
class TypiClust(Selector):
    """Typical examples of clusters without labels (Hacohen, Dekel and Weinshall 2022)."""

    max_candidates: int = 20_000
    max_clusters: int = 500
    neighbors: int = 20

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the most typical candidate of each cluster, fewest labels and largest first; the value: typicality."""
        X, labelled = request.X, request.labelled_X
        together = np.concatenate([X, labelled]) if labelled.shape[0] else X
        count = min(labelled.shape[0] + request.count, self.max_clusters)
        cluster, _ = k_means(together, count, request.seed)
        typicality = self._typicality(together, cluster)[: X.shape[0]]
        positions = _round_robin(cluster[: X.shape[0]], cluster[X.shape[0] :], typicality, count, request.count)
        return Selection(positions, typicality[positions], standby=typicality)

    def _typicality(self, X: NDArray[np.float32], cluster: NDArray[np.int32]) -> NDArray[np.float64]:
        """The inverse of the mean distance to the nearest neighbours within the row's cluster [n]."""
        typicality = np.zeros(X.shape[0])
        for members in _groups(cluster):
            wanted = min(self.neighbors, members.size - 1)
            for block in np.array_split(members, -(-members.size // _BLOCK)):
                distances = np.sqrt(squared_distances(X[block], X[members]))
                # The nearest of all is the row itself, at distance 0.
                near = np.partition(distances, wanted, axis=1)[:, : wanted + 1]
                typicality[block] = 1.0 / (near.sum(axis=1) / max(wanted, 1) + 1e-6) if wanted else 0.0
        return typicality


def _nearest(X: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """The squared distance [n] of each row to its nearest centre."""
    nearest = np.full(X.shape[0], np.inf, dtype=np.float32)
    for start in range(0, X.shape[0], _BLOCK):
        nearest[start : start + _BLOCK] = squared_distances(X[start : start + _BLOCK], centres).min(axis=1)
    return nearest


def _groups(cluster: NDArray[np.int32]) -> Iterator[NDArray[np.intp]]:
    """The members of each cluster that has any."""
    order = np.argsort(cluster, kind="stable")
    cuts = np.flatnonzero(np.diff(cluster[order])) + 1
    return iter(np.split(order, cuts))


def _round_robin(
    cluster: NDArray[np.int32],
    labelled_cluster: NDArray[np.int32],
    typicality: NDArray[np.float64],
    clusters: int,
    count: int,
) -> NDArray[np.intp]:
    """Positions of `count` candidates: always from the cluster with fewest labels and picks, of these the largest.

    Clusters of fewer than five come after all others, as in the paper: they hold outliers.
    """
    sizes = np.bincount(np.concatenate([cluster, labelled_cluster]), minlength=clusters)
    labels = np.bincount(labelled_cluster, minlength=clusters)
    # The j-th pick of a cluster has `labels + j` before it, so all picks can be ordered at once.
    order = np.lexsort((-typicality, cluster))
    starts = np.searchsorted(cluster[order], np.arange(clusters))
    place = np.arange(order.size) - starts[cluster[order]]
    owner = cluster[order]
    outlier = sizes[owner] < 5  # noqa: PLR2004 - the paper's figure
    ranked = order[np.lexsort((owner, -sizes[owner], labels[owner] + place, outlier))]
    return ranked[:count]


SELECTORS: Mapping[str, type[Selector]] = {"k_center": KCenter, "typiclust": TypiClust}
