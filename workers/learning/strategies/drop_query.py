"""DropQuery: examples whose predicted class hangs on few of their features."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ChunkReader, Matrix, Rows, is_sparse
from workers.learning.strategies.base import Block, Need, Predictor, Selection, SelectionRequest, Selector
from workers.learning.strategies.geometry import k_means, squared_distances
from workers.learning.strategies.turns import places
from workers.learning.strategies.uncertainty import Margin
from workers.learning.ties import random_subset, tie_keys

_SAMPLE = 10_000
_NUMBERS_AT_ONCE = 2**22
_SPARSE_ROWS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class _Changes:
    """How often each row of a block changes its predicted class; an object that joblib can send elsewhere."""

    features: ChunkReader
    model: Predictor
    rows: Rows
    predicted: NDArray[np.int64]
    means: NDArray[np.float32] | None
    dropout: float
    passes: int
    seed: int

    def __call__(self, block: tuple[int, int]) -> NDArray[np.int64]:
        start, stop = block
        rng = np.random.default_rng([self.seed, start])
        X = self.features.take(self.rows[start:stop])
        changes = np.zeros(stop - start, dtype=np.int64)
        for _ in range(self.passes):
            P = self.model.predictions(self._dropped(X, rng))
            changes += P.argmax(axis=1) != self.predicted[start:stop]
        return changes

    def _dropped(self, X: Any, rng: np.random.Generator) -> Matrix:
        if self.means is None:
            left = X.copy()
            left.data[rng.random(left.data.size, dtype=np.float32) < self.dropout] = 0
            left.eliminate_zeros()  # a zero that is stored has no logarithm
            return left
        return np.where(rng.random(X.shape, dtype=np.float32) < self.dropout, self.means, X)


@dataclass(frozen=True, slots=True)
class DropQuery(Selector):
    """Candidates that change their class without some of their features, clustered (Gupte et al. 2024).

    arXiv 2401.14555. Those that change it in more than half of the passes are clustered by k-means, and the nearest to
    each centre is picked; where too few change, the smallest margins fill the batch. A feature that is dropped takes
    its mean over the pool (0 where features are sparse), so the model may be of any kind; those kept are not scaled up.
    O(passes) predictions of n candidates, then O(20,000 k d) an iteration of k-means.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions", "model")
    compares_labelled: ClassVar[bool] = False
    dropout: float = 0.75
    passes: int = 3
    max_candidates: int = 1_000_000
    max_clustered: int = 20_000
    max_clusters: int = 256

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidate nearest to each centre, then each cluster's next; the value: the share of changes."""
        changes = self._changes(request)
        scores = Margin().score(Block(P=request.P)).astype(np.float64)
        ties = tie_keys(request.rows, request.seed)
        steady = 2 * changes <= self.passes
        fickle = np.flatnonzero(~steady)
        if fickle.size > request.count:
            most = max(self.max_clustered, request.count)
            picked = self._central(request, random_subset(fickle, most, request.seed, purpose="cluster"), scores)
        else:
            picked = np.lexsort((ties, -scores, steady))[: request.count]
        # A margin score is below 2, so those that change more often come before all others.
        return Selection(picked, changes[picked] / self.passes, standby=2.0 * changes + scores)

    def _changes(self, request: SelectionRequest) -> NDArray[np.int64]:
        assert request.features is not None  # noqa: S101 - the strategy needs them
        assert request.model is not None  # noqa: S101 - and the model
        sample = request.features.take(random_subset(request.rows, _SAMPLE, request.seed, purpose="mean"))
        sparse = is_sparse(sample)
        means = None if sparse else np.asarray(sample).mean(axis=0, dtype=np.float64).astype(np.float32)
        size = _SPARSE_ROWS_AT_ONCE if sparse else max(1, _NUMBERS_AT_ONCE // max(1, request.features.columns))
        work = _Changes(
            features=request.features,
            model=request.model,
            rows=request.rows,
            predicted=request.P.argmax(axis=1),
            means=means,
            dropout=self.dropout,
            passes=self.passes,
            seed=request.seed,
        )
        blocks = [(start, min(start + size, request.rows.size)) for start in range(0, request.rows.size, size)]
        return np.concatenate(list(request.parallel.over_chunks(work, blocks)))

    def _central(
        self, request: SelectionRequest, fickle: NDArray[np.intp], scores: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        """The nearest to the centres of the clusters of these candidates, the smaller margins first."""
        X = request.X[fickle]
        cluster, centres = k_means(X, min(request.count, self.max_clusters), request.seed)
        to_centre = squared_distances(X, centres)[np.arange(fickle.size), cluster]
        ties = tie_keys(request.rows[fickle], request.seed)
        place = places(cluster, np.lexsort((ties, to_centre)))
        return fickle[np.lexsort((ties, -scores[fickle], place))[: request.count]]
