"""Diversity within a batch of uncertain examples."""

from dataclasses import dataclass

import numpy as np

from workers.learning.strategies.base import Selection, SelectionRequest
from workers.learning.strategies.geometry import comparable, k_means, squared_distances


@dataclass(frozen=True, slots=True)
class WeightedKMeans:
    """One candidate per cluster of k-means weighted by uncertainty (Zhdanov 2019, arXiv 1901.05954).

    Meant for candidates narrowed by a scorer, whose scores are the weights.
    """

    max_candidates: int = 20_000
    max_clusters: int = 256

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate nearest to each centre, then each cluster's next by score; the value is the score."""
        X = comparable(request.features.take(request.rows), request.seed)
        scores = np.ones(request.rows.size) if request.scores is None else request.scores
        clusters = min(request.batch, self.max_clusters)
        cluster, centres = k_means(X, clusters, request.seed, np.maximum(scores, 1e-3))
        to_centre = squared_distances(X, centres)[np.arange(cluster.size), cluster]
        nearest = np.lexsort((to_centre, cluster))
        representative = np.zeros(cluster.size, dtype=bool)
        representative[nearest[np.unique(cluster[nearest], return_index=True)[1]]] = True
        within = np.lexsort((-scores, ~representative, cluster))
        place = np.empty(cluster.size, dtype=np.int64)
        place[within] = np.arange(cluster.size) - np.searchsorted(cluster[within], cluster[within])
        batch = np.lexsort((-scores, place))[: request.batch]
        batch = batch[np.argsort(-scores[batch], kind="stable")]
        reserve = np.setdiff1d(np.argsort(-scores, kind="stable"), batch, assume_unique=True)
        positions = np.concatenate([batch, reserve])[: request.count]
        return Selection(positions, scores[positions])
