"""Strategies that weigh uncertainty and diversity."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.badge import Badge
from workers.learning.strategies.base import Block, Narrowing, Need, Scorer, Selection, SelectionRequest, Selector
from workers.learning.strategies.cluster_margin import ClusterMargin
from workers.learning.strategies.drop_query import DropQuery
from workers.learning.strategies.geometry import k_means, squared_distances
from workers.learning.strategies.ranked_batch import RankedBatch
from workers.learning.strategies.turns import places
from workers.learning.strategies.uncertainty import SCORERS as UNCERTAINTIES
from workers.learning.strategies.uncertainty import Margin
from workers.learning.strategies.uncertainty_herding import UncertaintyHerding
from workers.learning.ties import tie_keys


@dataclass(frozen=True, slots=True)
class DiverseMiniBatch(Selector):
    """One candidate per cluster of k-means weighted by uncertainty (Zhdanov 2019, arXiv 1901.05954).

    Of the `oversampling` x k smallest margins, or greatest uncertainties of another kind; O(n C) for these, then
    O(oversampling k^2 d) an iteration.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    compares_labelled: ClassVar[bool] = False
    oversampling: int = 10
    max_candidates: int = 20_000
    max_clusters: int = 256
    uncertainty: Scorer = field(default_factory=Margin)

    def narrowing(self, count: int) -> Narrowing:
        """The most uncertain ones."""
        return Narrowing(self.uncertainty, min(self.oversampling * count, self.max_candidates))

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate nearest to each centre, then each cluster's next by score; the value is the margin."""
        X = request.X
        scores = request.scores
        if scores is None:
            scores = self.uncertainty.score(Block(P=request.P)).astype(np.float64)
        cluster, centres = k_means(X, min(request.count, self.max_clusters), request.seed, np.maximum(scores, 1e-3))
        to_centre = squared_distances(X, centres)[np.arange(cluster.size), cluster]
        ties = tie_keys(request.rows, request.seed)
        nearest = np.lexsort((ties, to_centre, cluster))
        representative = np.zeros(cluster.size, dtype=bool)
        representative[nearest[np.unique(cluster[nearest], return_index=True)[1]]] = True
        place = places(cluster, np.lexsort((ties, -scores, ~representative)))
        picked = np.lexsort((ties, -scores, place))[: request.count]
        picked = picked[np.argsort(-scores[picked], kind="stable")]
        return Selection(picked, self.uncertainty.value(scores[picked]), standby=scores)


@dataclass(frozen=True, slots=True)
class InformationDensity(Scorer):
    """Uncertainty times (likeness to the pool)^beta (Settles and Craven 2008, doi 10.3115/1613715.1613855).

    The likeness of two rows is (1 + cosine) / 2, as comparable features are centred and a cosine may be negative. Its
    mean over the pool is (1 + u.m) / 2, with u the row at unit length and m the mean of such rows: O(n (C + d)), where
    the formula as written takes O(n^2 d). Here m is that of a random sample of the pool, 10,000 rows.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    uncertainty: str = "entropy"
    beta: float = 1.0
    centre: NDArray[np.float32] | None = field(default=None, compare=False)

    def prepared(self, reference: NDArray[np.float32]) -> Self:
        """Learn the mean direction of the pool."""
        return replace(self, centre=at_unit_length(reference).mean(axis=0, dtype=np.float64).astype(np.float32))

    def score(self, block: Block) -> NDArray[np.float32]:
        """Uncertainty times density [n]."""
        assert self.centre is not None  # noqa: S101 - scorers are prepared first
        density = np.clip((1 + at_unit_length(block.X) @ self.centre) / 2, 0, 1).astype(np.float32)
        scores: NDArray[np.float32] = UNCERTAINTIES[self.uncertainty]().score(block) * density ** np.float32(self.beta)
        return scores


def at_unit_length(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of `X` [n, d] divided by their lengths; rows of zeros stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", X, X))
    return np.asarray(X / np.where(lengths > 0, lengths, 1)[:, np.newaxis], dtype=np.float32)


SCORERS: Mapping[str, type[Scorer]] = {"information_density": InformationDensity}

SELECTORS: Mapping[str, type[Selector]] = {
    "badge": Badge,
    "diverse_mini_batch": DiverseMiniBatch,
    "cluster_margin": ClusterMargin,
    "uncertainty_herding": UncertaintyHerding,
    "drop_query": DropQuery,
    "ranked_batch": RankedBatch,
}
