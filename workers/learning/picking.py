"""A strategy's own picks: at most one of identical examples while others remain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ChunkReader, Rows, grid, is_sparse
from workers.learning.picks import Picks, no_picks
from workers.learning.plan import Plan
from workers.learning.query import Query
from workers.learning.space import DIMENSIONS, Space, learn_space, row_hashes
from workers.learning.strategies.base import Scorer, SelectionRequest, Selector, nothing
from workers.learning.streaming import ReadyScorer, best, ready
from workers.learning.ties import random_subset, shuffled, tie_keys
from workers.learning.top import Top

MOST_NUMBERS = 2**27
"""Candidates of a selector are held in memory: at most this many numbers (512 MiB); of more, a random sample."""

_SPACE_SAMPLE = 10_000
_MOST_LABELLED = 20_000


def pick(query: Query, chosen: Plan, rows: Rows, *, batch: int, reserve: int) -> Picks:
    """The best `batch` of `rows` (ascending), then a reserve; copies of the same features come last."""
    count = min(batch + reserve, rows.size)
    if count == 0:
        return no_picks()
    if chosen.selector is not None:
        return _selected(query, chosen.selector, rows, batch=min(batch, rows.size), count=count)
    if chosen.scorer is not None:
        return _best_scored(query, chosen.scorer, rows, count)
    return _random(query, rows, count)


def scored(query: Query, chosen: Plan, rows: Rows) -> Picks:
    """Given rows in rank order; NaN where the strategy scores sets, not rows."""
    if chosen.scorer is None or rows.size == 0:
        unknown = np.full(rows.size, np.nan)
        return Picks(rows, unknown, unknown)
    scorer = ready(query, chosen.scorer, np.flatnonzero(query.candidates))
    top = Top.of(rows, scorer.score(scorer.view.take(rows)), rows.size, query.seed)
    return Picks(top.rows, top.scores, chosen.scorer.value(top.scores))


def _random(query: Query, rows: Rows, count: int) -> Picks:
    drawn = shuffled(random_subset(rows, count, query.seed, purpose="tie"), query.seed)
    figures = 1.0 - tie_keys(drawn, query.seed) / 2.0**64
    return Picks(drawn, figures, figures)


def _best_scored(query: Query, scorer: Scorer, rows: Rows, count: int) -> Picks:
    top, originals = _narrowed(query, ready(query, scorer, rows), rows, wanted=count, start=2 * count)
    order = np.concatenate([np.flatnonzero(originals), np.flatnonzero(~originals)])[:count]
    scores = top.scores[order]
    return Picks(top.rows[order], scores, scorer.value(scores))


def _narrowed(
    query: Query, scorer: ReadyScorer, rows: Rows, *, wanted: int, start: int, most: int | None = None
) -> tuple[Top, NDArray[np.bool_]]:
    """The best `start` rows by score, more while copies leave fewer than `wanted` distinct ones; and who is no copy."""
    size, limit = start, rows.size if most is None else min(most, rows.size)
    while True:
        top = best(query, scorer, rows, size)
        originals = _originals(query.features, top.rows, query.seed)
        if size >= limit or np.count_nonzero(originals) >= wanted:
            return top, originals
        size = min(4 * size, limit)


def _originals(features: ChunkReader | None, rows: Rows, seed: int) -> NDArray[np.bool_]:
    """Which rows [n] are the first of their content, in a random order; without features, all."""
    if features is None:
        return np.ones(rows.size, dtype=bool)
    return first_of_each(row_hashes(features.take(rows)), rows, seed)


def first_of_each(hashes: NDArray[np.uint64], rows: Rows, seed: int) -> NDArray[np.bool_]:
    """Which rows [n] are the first of those with their hash, in a seeded random order."""
    order = np.argsort(hashes, kind="stable")
    again = hashes[order][1:] == hashes[order][:-1]
    first = np.ones(rows.size, dtype=bool)
    if again.any():
        order = np.lexsort((tie_keys(rows, seed), hashes))
        first[order[1:][hashes[order][1:] == hashes[order][:-1]]] = False
    return first


def _selected(query: Query, selector: Selector, rows: Rows, *, batch: int, count: int) -> Picks:
    """A selector's picks, then the reserve by its own figure."""
    candidates, scores = _candidates(query, selector, rows, batch=batch, count=count)
    gathered = _gather(query, selector, candidates)
    originals = first_of_each(gathered.hashes, candidates, query.seed) if query.features is not None else None
    keep = np.flatnonzero(originals) if originals is not None and not originals.all() else None
    request = _request(query, selector, gathered, candidates, scores=scores, keep=keep, count=max(batch, 1))
    selection = selector.select(request)
    distinct = np.arange(candidates.size) if keep is None else keep
    picked = distinct[selection.positions[:batch]]
    values = np.full(candidates.size, np.nan)
    values[distinct[selection.positions]] = selection.values
    order = np.concatenate([picked, _standing_by(query, candidates, distinct, picked, selection.standby)])[:count]
    figures = 1.0 - np.arange(order.size) / count
    return Picks(candidates[order], figures, values[order])


def _standing_by(
    query: Query,
    candidates: Rows,
    distinct: NDArray[np.intp],
    picked: NDArray[np.intp],
    standby: NDArray[np.float64] | None,
) -> NDArray[np.intp]:
    """Positions of all candidates that were not picked: the soonest first, copies last."""
    figures = np.full(candidates.size, -np.inf)
    figures[distinct] = 0.0 if standby is None else np.maximum(standby, np.finfo(np.float64).min)
    left = np.setdiff1d(np.arange(candidates.size), picked, assume_unique=True)
    return left[np.lexsort((tie_keys(candidates[left], query.seed), -figures[left]))]


def _candidates(
    query: Query, selector: Selector, rows: Rows, *, batch: int, count: int
) -> tuple[Rows, NDArray[np.float64] | None]:
    """The rows [n] that a selector picks from, ascending, with their scores if a scorer has narrowed them."""
    columns = 1
    if "features" in selector.needs and query.features is not None:
        sparse = is_sparse(query.features.take(rows[:1]))
        columns += DIMENSIONS if sparse else query.features.columns
    if "predictions" in selector.needs:
        columns += query.classes
    most = max(min(selector.max_candidates, MOST_NUMBERS // columns), count)
    narrowing = selector.narrowing(max(batch, 1))
    if narrowing is None or rows.size <= count:
        return random_subset(rows, most, query.seed, purpose="sample"), None
    scorer = ready(query, narrowing.scorer, rows)
    top, _ = _narrowed(query, scorer, rows, wanted=count, start=max(min(narrowing.count, most), count), most=most)
    order = np.argsort(top.rows)
    return top.rows[order], top.scores[order]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Candidates in memory."""

    X: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    space: Space | None


@dataclass(frozen=True, slots=True)
class _GatherBlock:
    """Comparable rows and hashes of one block's candidates."""

    features: ChunkReader
    space: Space

    def __call__(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        start, stop = int(rows[0]), int(rows[-1]) + 1
        dense = 2 * rows.size > stop - start
        X = self.features.read(start, stop) if dense else self.features.take(rows)
        if dense and rows.size < stop - start:
            X = X[rows - start]
        return self.space.apply(X), row_hashes(X)


def _gather(query: Query, selector: Selector, rows: Rows) -> _Gathered:
    """Read the candidates' features, block by block of the grid."""
    if query.features is None or ("features" not in selector.needs):
        hashes = np.empty(0, dtype=np.uint64)
        if query.features is not None:
            hashes = row_hashes(query.features.take(rows))
        return _Gathered(nothing(), hashes, None)
    sample = random_subset(rows, _SPACE_SAMPLE, query.seed, purpose="space")
    space = learn_space(query.features.take(sample), query.seed)
    blocks = [part for start, stop in grid(int(rows[-1]) + 1) if (part := _between(rows, start, stop)).size]
    X = np.empty((rows.size, space.dimensions), dtype=np.float32)
    hashes = np.empty(rows.size, dtype=np.uint64)
    filled = 0
    for comparable, found in query.parallel.map(_GatherBlock(query.features, space), blocks):
        X[filled : filled + found.size] = comparable
        hashes[filled : filled + found.size] = found
        filled += found.size
    return _Gathered(X, hashes, space)


def _between(rows: Rows, start: int, stop: int) -> Rows:
    return rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]


def _request(
    query: Query,
    selector: Selector,
    gathered: _Gathered,
    rows: Rows,
    *,
    scores: NDArray[np.float64] | None,
    keep: NDArray[np.intp] | None,
    count: int,
) -> SelectionRequest:
    """What the selector sees: the distinct candidates and what it needs of them."""
    if keep is not None:
        gathered = _Gathered(gathered.X[keep] if gathered.X.size else gathered.X, gathered.hashes, gathered.space)
        rows, scores = rows[keep], None if scores is None else scores[keep]
    labelled_rows, labelled_y = query.labelled_rows, query.labelled_codes
    if labelled_rows.size > _MOST_LABELLED:
        chosen = random_subset(
            np.arange(labelled_rows.size, dtype=np.int64), _MOST_LABELLED, query.seed, purpose="labelled"
        )
        labelled_rows, labelled_y = labelled_rows[chosen], labelled_y[chosen]
    labelled_X = np.empty((0, gathered.X.shape[1]), dtype=np.float32)
    if gathered.space is not None and query.features is not None and labelled_rows.size:
        labelled_X = gathered.space.apply(query.features.take(labelled_rows))
    return SelectionRequest(
        rows=rows,
        count=min(count, rows.size),
        classes=query.classes,
        seed=query.seed,
        X=gathered.X,
        P=_probabilities(query, selector, rows),
        scores=scores,
        labelled_X=labelled_X,
        labelled_y=labelled_y,
        features=query.features,
        model=query.model,
        parallel=query.parallel,
    )


def _probabilities(query: Query, selector: Selector, rows: Rows) -> NDArray[np.float32]:
    if "predictions" not in selector.needs or query.probabilities is None:
        return nothing()
    P = np.asarray(query.probabilities.take(rows), dtype=np.float32)
    if not np.isfinite(P.sum()):
        raise FloatingPointError("The model gives probabilities that are not numbers.")
    return P
