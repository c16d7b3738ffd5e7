"""Cluster-Margin: small margins, spread over the clusters of a hierarchy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from workers.learning.matrices import Rows
from workers.learning.strategies.base import Block, Narrowing, Need, Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import squared_distances
from workers.learning.strategies.turns import places
from workers.learning.strategies.uncertainty import Margin
from workers.learning.ties import random_subset, tie_keys

_LINKED = 4_096
_BLOCK = 1_024


@dataclass(frozen=True, slots=True)
class ClusterMargin(Selector):
    """Small margins, in turns from the clusters of a hierarchy, smallest cluster first (Citovsky et al. 2021).

    arXiv 2107.14263. The paper clusters the whole pool once, and uses of each cluster what is among the `oversampling`
    x k smallest margins; here these candidates themselves are clustered, by the same average linkage, and the tree is
    cut into `clusters` x k clusters. O(n C) for the margins, then O(m^2 d) time and O(m^2) memory for the m candidates
    that are linked: 4,096 at most, drawn at random; each other one joins the cluster of its nearest.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    compares_labelled: ClassVar[bool] = False
    oversampling: int = 10
    clusters: float = 0.25
    max_candidates: int = 20_000

    def narrowing(self, count: int) -> Narrowing:
        """The smallest margins."""
        return Narrowing(Margin(), min(self.oversampling * count, self.max_candidates))

    def select(self, request: SelectionRequest) -> Selection:
        """Pick at random from each cluster in turn, the smallest first; the value is the margin."""
        scores = request.scores
        if scores is None:
            scores = Margin().score(Block(P=request.P)).astype(np.float64)
        cluster = average_linkage(request.X, max(1, round(self.clusters * request.count)), request.seed)
        ties = tie_keys(request.rows, request.seed)
        place = places(cluster, np.argsort(ties, kind="stable"))
        picked = np.lexsort((ties, np.bincount(cluster)[cluster], place))[: request.count]
        return Selection(picked, Margin().value(scores[picked]), standby=scores)


def average_linkage(X: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.int64]:
    """The cluster [n] of each row of `X` [n, d], at most `clusters` of them, by average Euclidean distance."""
    if X.shape[0] <= 1:
        return np.zeros(X.shape[0], dtype=np.int64)
    linked: Rows = random_subset(np.arange(X.shape[0], dtype=np.int64), _LINKED, seed, purpose="link")
    tree = linkage(X[linked], method="average")
    found: NDArray[np.int64] = fcluster(tree, clusters, criterion="maxclust").astype(np.int64) - 1
    if linked.size == X.shape[0]:
        return found
    starts = range(0, X.shape[0], _BLOCK)
    nearest = [squared_distances(X[start : start + _BLOCK], X[linked]).argmin(axis=1) for start in starts]
    joined: NDArray[np.int64] = found[np.concatenate(nearest)]
    joined[linked] = found
    return joined
