"""Scores of a pool, block by block of the grid, without holding the pool."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import TILE, ChunkReader, Matrix, Part, Rows, grid, numbers, occupied
from workers.learning.query import Query
from workers.learning.space import Space, learn_space
from workers.learning.strategies.base import Block, Need, Scorer
from workers.learning.ties import random_subset
from workers.learning.top import Top

_REFERENCE = 10_000
# Of fewer rows than one in so many, each is looked up: a class of 1,000 must not take a pass over the whole pool.
_SCATTERED = 4


@dataclass(frozen=True, slots=True)
class View:
    """The arrays that a scorer needs, by row; an object that joblib can send to another process."""

    probabilities: ChunkReader | None
    members: ChunkReader | None
    features: ChunkReader | None
    space: Space | None
    classes: int

    def read(self, start: int, stop: int) -> Block:
        """Rows [start, stop)."""
        return self._block(lambda reader: reader.read(start, stop))

    def take(self, rows: Rows) -> Block:
        """The named rows, in the order given."""
        return self._block(lambda reader: reader.take(rows))

    def _block(self, get: Callable[[ChunkReader], Matrix]) -> Block:
        arrays = {}
        if self.probabilities is not None:
            arrays["P"] = np.asarray(get(self.probabilities))
        if self.members is not None:
            flat = np.asarray(get(self.members))
            arrays["members"] = flat.reshape(flat.shape[0], -1, self.classes)
        if self.features is not None and self.space is not None:
            arrays["X"] = self.space.apply(get(self.features))
        return Block(**arrays)


@dataclass(frozen=True, slots=True)
class ReadyScorer:
    """A scorer with the arrays that it needs, prepared for a pool."""

    scorer: Scorer
    view: View

    def score(self, block: Block) -> NDArray[np.float32]:
        """Scores [n] of a block of the view.

        Raises:
            FloatingPointError: when a probability, or a score, is not a number.
        """
        numbers(block.P)
        numbers(block.members)
        scores = self.scorer.score(block)
        if not np.isfinite(scores.sum()):
            raise FloatingPointError("The strategy gives scores that are not numbers.")
        return scores


def ready(query: Query, scorer: Scorer) -> ReadyScorer:
    """Prepare a scorer for the pool; what it needs is there.

    It looks at all candidates, whoever is ranked, so that a row has one score in all parts of a batch.
    """
    needs: tuple[Need, ...] = scorer.needs
    space = None
    if "features" in needs and query.features is not None:
        pool = query.candidates.copy()
        pool[query.pinned] = True
        rows = random_subset(np.flatnonzero(pool), _REFERENCE, query.seed, purpose="space")
        sample = query.features.take(rows)
        space = learn_space(sample, query.seed)
        scorer = scorer.prepared(space.apply(sample))
    view = View(
        probabilities=query.probabilities if "predictions" in needs else None,
        members=query.members if "committee" in needs else None,
        features=query.features if "features" in needs else None,
        space=space,
        # A model knows the classes of its time: the project may have got more since.
        classes=query.classes if query.probabilities is None else query.probabilities.columns,
    )
    return ReadyScorer(scorer, view)


def best(query: Query, scorer: ReadyScorer, rows: Rows, count: int) -> Top:
    """The `count` best of `rows`, ascending, streamed over the grid."""
    score = _ScoreBlock(scorer, count, query.seed)
    blocks = occupied(rows, query.candidates.size)
    top = Top.of(np.empty(0, dtype=np.int64), np.empty(0), count, query.seed)
    for done, found in enumerate(query.parallel.over_chunks(score, blocks), start=1):
        top = top.merged(found, count, query.seed)
        if query.progress:
            query.progress(done, len(blocks), "scoring")
    return top


@dataclass(frozen=True, slots=True)
class _ScoreBlock:
    """One block's work."""

    scorer: ReadyScorer
    count: int
    seed: int

    def __call__(self, part: Part) -> Top:
        start, stop, rows = part
        view = self.scorer.view
        if rows.size * _SCATTERED < stop - start:
            some = (rows[first:last] for first, last in grid(rows.size, 0, TILE))
            scores = np.concatenate([self.scorer.score(view.take(few)) for few in some])
        else:
            scores = np.concatenate([self.scorer.score(view.read(*tile)) for tile in grid(stop, start, TILE)])
            scores = scores[rows - start] if rows.size < stop - start else scores
        return Top.of(rows, scores, self.count, self.seed)
