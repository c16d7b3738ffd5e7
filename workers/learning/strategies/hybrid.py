"""Strategies that weigh uncertainty and diversity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workers.learning.strategies.badge import Badge
from workers.learning.strategies.base import Narrowing, Need, Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import k_means, squared_distances
from workers.learning.strategies.uncertainty import Margin


@dataclass(frozen=True, slots=True)
class DiverseMiniBatch(Selector):
    """One candidate per cluster of k-means weighted by uncertainty (Zhdanov 2019, arXiv 1901.05954).

    Of the `oversampling` x k smallest margins; O(n C) for these, then O(oversampling k^2 d) an iteration.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    oversampling: int = 10
    max_candidates: int = 20_000
    max_clusters: int = 256

    def narrowing(self, count: int) -> Narrowing:
        """The smallest margins."""
        return Narrowing(Margin(), min(self.oversampling * count, self.max_candidates))

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate nearest to each centre, then each cluster's next by score; the value is the margin."""
        X = request.X
        scores = np.ones(request.rows.size) if request.scores is None else request.scores
        cluster, centres = k_means(X, min(request.count, self.max_clusters), request.seed, np.maximum(scores, 1e-3))
        to_centre = squared_distances(X, centres)[np.arange(cluster.size), cluster]
        nearest = np.lexsort((to_centre, cluster))
        representative = np.zeros(cluster.size, dtype=bool)
        representative[nearest[np.unique(cluster[nearest], return_index=True)[1]]] = True
        within = np.lexsort((-scores, ~representative, cluster))
        place = np.empty(cluster.size, dtype=np.int64)
        place[within] = np.arange(cluster.size) - np.searchsorted(cluster[within], cluster[within])
        picked = np.lexsort((-scores, place))[: request.count]
        picked = picked[np.argsort(-scores[picked], kind="stable")]
        return Selection(picked, Margin().value(scores[picked]), standby=scores)


SELECTORS: Mapping[str, type[Selector]] = {"badge": Badge, "diverse_mini_batch": DiverseMiniBatch}
