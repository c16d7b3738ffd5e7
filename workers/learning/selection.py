"""The engine that ranks a pool for a query: strategy, narrowing, random share, pinned rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.arrangement import arrange
from workers.learning.matrices import ChunkReader, Rows, grid
from workers.learning.parallel import single_threaded
from workers.learning.plan import Plan, missing_predictions, plan
from workers.learning.query import Query, Ranking, no_rows
from workers.learning.strategies.base import Scorer, SelectionRequest, Selector
from workers.learning.strategies.geometry import row_hashes
from workers.learning.strategies.registry import SCORERS
from workers.learning.ties import random_subset, shuffled, tie_keys
from workers.learning.top import Top

_Picks = tuple[Rows, NDArray[np.float64], NDArray[np.float64]]
"""Rows in rank order with scores and values."""


def rank(query: Query) -> Ranking:
    """Rank the `k + reserve` candidates to label next, all of them when there are fewer.

    The same query gives the same ranking, whatever the chunks behind the readers, the engine and the number of jobs.

    Raises:
        ValueError: for an unknown strategy, a `preselect` that is no scorer, or readers with too few rows.
    """
    _check(query)
    with single_threaded():
        return _rank(query, plan(query))


def _check(query: Query) -> None:
    for reader in (query.features, query.probabilities):
        if reader is not None and reader.rows < query.candidates.size:
            raise ValueError("The arrays end before the candidates do.")
    if query.preselect and query.preselect[0] not in {"random", *SCORERS}:
        raise ValueError(f"{query.preselect[0]!r} cannot narrow candidates: it gives rows no scores.")


def _rank(query: Query, chosen: Plan) -> Ranking:
    eligible = query.candidates.copy()
    eligible[query.pinned] = False
    rows = np.flatnonzero(eligible)
    rng = np.random.default_rng([query.seed, rows.size])  # another draw once the candidates have changed
    room = max(query.k - query.pinned.size, 0)
    # A fractional share is rounded up or down at random, so that it holds on average for any batch size.
    share = min(int(query.explore * room + rng.random()), room)
    explored = shuffled(random_subset(rows, share, query.seed, purpose="explore"), query.seed)
    remaining = np.setdiff1d(rows, explored, assume_unique=True)
    ranked = _ranked(query, chosen, _preselected(query, remaining), room - explored.size)
    arranged = arrange(ranked, _scored(query, chosen, query.pinned), _scored(query, chosen, explored), room)
    return Ranking(
        rows=arranged.rows,
        scores=arranged.scores,
        values=arranged.values,
        explore=arranged.explore,
        strategy=chosen.strategy,
        params=chosen.params,
        fallback_from=chosen.fallback_from,
        fallback_reason=chosen.fallback_reason,
        candidates=rows.size,
    )


def _preselected(query: Query, rows: Rows) -> Rows:
    """The candidates that `preselect` leaves; without a model they are drawn at random."""
    if query.preselect is None:
        return rows
    name, params, count = query.preselect
    if rows.size <= count:
        return rows
    if name == "random" or missing_predictions(query):
        return random_subset(rows, count, query.seed, purpose="narrow")
    return np.sort(_best(query, SCORERS[name](**params), rows, count).rows)


def _ranked(query: Query, chosen: Plan, rows: Rows, batch: int) -> _Picks:
    """The strategy's picks: `batch` and the reserve."""
    count = min(batch + query.reserve, rows.size)
    if count == 0:
        return no_rows(), np.empty(0), np.empty(0)
    if chosen.selector is not None and query.features is not None:
        return _selected(query, chosen, chosen.selector, query.features, rows, batch)
    if chosen.scorer is not None:
        top = _best(query, chosen.scorer, rows, count)
        return top.rows, top.scores, chosen.scorer.value(top.scores)
    drawn = shuffled(random_subset(rows, count, query.seed, purpose="tie"), query.seed)
    figures = 1.0 - tie_keys(drawn, query.seed) / 2.0**64
    return drawn, figures, figures


def _best(query: Query, scorer: Scorer, rows: Rows, count: int) -> Top:
    """The `count` best of `rows` by `scorer`, streamed over the grid."""
    if query.probabilities is None:
        raise ValueError("A scorer needs probabilities.")
    score = _ScoreBlock(scorer, query.probabilities, count, query.seed)
    blocks = []
    for start, stop in grid(query.candidates.size):
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        if inside.size:
            blocks.append((start, stop, inside))
    best = Top.of(no_rows(), np.empty(0), count, query.seed)
    for done, top in enumerate(query.parallel.map(score, blocks), start=1):
        best = best.merged(top, count, query.seed)
        if query.progress:
            query.progress(done, len(blocks), "scoring")
    return best


@dataclass(frozen=True, slots=True)
class _ScoreBlock:
    """One block's work, as an object that joblib can send to another process."""

    scorer: Scorer
    probabilities: ChunkReader
    count: int
    seed: int

    def __call__(self, block: tuple[int, int, Rows]) -> Top:
        start, stop, rows = block
        scores = self.scorer.score(np.asarray(self.probabilities.read(start, stop)))[rows - start]
        return Top.of(rows, scores, self.count, self.seed)


def _selected(query: Query, chosen: Plan, selector: Selector, features: ChunkReader, rows: Rows, batch: int) -> _Picks:
    """A selector's picks among distinct rows; copies of the same features come last."""
    count = min(batch + query.reserve, rows.size)
    most = max(selector.max_candidates, count)
    scorer, scores = chosen.scorer, None
    if scorer is not None and chosen.narrow_to is not None:
        rows, scores = _narrowed(query, scorer, rows, features, wanted=count, start=chosen.narrow_to, most=most)
    else:
        rows = random_subset(rows, most, query.seed, purpose="sample")
    first, copies = _distinct(rows, features, query.seed)
    selection = selector.select(
        SelectionRequest(
            features=features,
            rows=rows[first],
            count=min(count, first.size),
            batch=min(max(batch, 1), first.size),  # also when own leases fill the batch: the reserve stands by
            labelled=query.labelled_rows,
            seed=query.seed,
            scores=None if scores is None else scores[first],
        )
    )
    positions = np.concatenate([first[selection.positions], copies])[:count]
    values = np.concatenate([selection.values, np.full(copies.size, np.nan)])[:count]
    if scorer is None or scores is None:
        return rows[positions], 1.0 - np.arange(count) / count, values
    return rows[positions], scores[positions], scorer.value(scores[positions])


def _narrowed(
    query: Query, scorer: Scorer, rows: Rows, features: ChunkReader, *, wanted: int, start: int, most: int
) -> tuple[Rows, NDArray[np.float64]]:
    """The best `start` by score, ascending by row, with their scores; more while copies leave too few distinct ones."""
    size = start
    while True:
        top = _best(query, scorer, rows, size)
        if size >= min(most, rows.size) or _distinct(top.rows, features, query.seed)[0].size >= wanted:
            order = np.argsort(top.rows)
            return top.rows[order], top.scores[order]
        size = min(4 * size, most)


def _distinct(rows: Rows, features: ChunkReader, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of one row of each content, ascending, and of the other copies, in random order."""
    hashes = row_hashes(features.take(rows))
    order = np.lexsort((tie_keys(rows, seed), hashes))
    is_first = np.ones(rows.size, dtype=bool)
    is_first[1:] = hashes[order][1:] != hashes[order][:-1]
    copies = order[~is_first]
    return np.sort(order[is_first]), copies[np.argsort(tie_keys(rows[copies], seed), kind="stable")]


def _scored(query: Query, chosen: Plan, rows: Rows) -> _Picks:
    """Scores and values of given rows, in rank order; NaN where the strategy scores sets, not rows."""
    if chosen.scorer is None or query.probabilities is None or rows.size == 0:
        nothing = np.full(rows.size, np.nan)
        return rows, nothing, nothing
    scores = chosen.scorer.score(np.asarray(query.probabilities.take(rows)))
    top = Top.of(rows, scores, rows.size, query.seed)
    return top.rows, top.scores, chosen.scorer.value(top.scores)
