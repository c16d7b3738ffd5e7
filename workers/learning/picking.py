"""A strategy's own picks: at most one of a group, and of identical examples at most one while others remain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.copies import contents, first_of_each, no_contents
from workers.learning.groups import first_of_group, one_of_each
from workers.learning.matrices import ChunkReader, Matrix, Part, Rows, is_sparse, numbers, occupied
from workers.learning.picks import Picks, no_picks
from workers.learning.plan import Plan
from workers.learning.query import Labelled, LabelledRows, Query
from workers.learning.space import DIMENSIONS, Space, learn_space, row_hashes
from workers.learning.strategies.base import Predictor, Scorer, Selection, SelectionRequest, Selector, nothing
from workers.learning.streaming import ReadyScorer, best, ready
from workers.learning.ties import random_subset, shuffled, tie_keys
from workers.learning.top import Top

MOST_NUMBERS = 2**27
"""Candidates of a selector are held in memory: at most this many numbers (512 MiB); of more, a random sample."""

_SPACE_SAMPLE = 10_000
_MOST_LABELLED = 20_000


def pick(
    query: Query, chosen: Plan, rows: Rows, *, batch: int, reserve: int, taken: NDArray[np.uint64] | None = None
) -> Picks:
    """The best `batch` of `rows` (ascending), then a reserve.

    Copies of the same features come last, and so do copies of what is `taken` already (see `copies.contents`). Of a
    group the best by the strategy's scores is picked; for a strategy that scores sets, one is drawn at random.
    """
    most = rows.size if query.groups is None else np.unique(query.groups[rows]).size
    count = min(batch + reserve, most)
    taken = no_contents() if taken is None else taken
    if count == 0:
        return no_picks()
    if chosen.selector is not None:
        return _selected(query, chosen.selector, rows, batch=min(batch, most), count=count, taken=taken)
    if chosen.scorer is not None:
        return _best_scored(query, chosen.scorer, rows, count, taken)
    return _random(query, rows, count, taken)


def scored(query: Query, chosen: Plan, rows: Rows) -> Picks:
    """Given rows in rank order; NaN where the strategy scores sets, not rows."""
    if chosen.scorer is None or rows.size == 0:
        unknown = np.full(rows.size, np.nan)
        return Picks(rows, unknown, unknown)
    scorer = ready(query, chosen.scorer)
    top = Top.of(rows, scorer.score(scorer.view.take(rows)), rows.size, query.seed)
    return Picks(top.rows, top.scores, chosen.scorer.value(top.scores))


def _random(query: Query, rows: Rows, count: int, taken: NDArray[np.uint64]) -> Picks:
    drawn, _ = _distinct(query, _Drawn(rows, query.seed, "tie"), wanted=count, start=2 * count, taken=taken)
    figures = drawn.scores[:count]
    return Picks(drawn.rows[:count], figures, figures)


def _best_scored(query: Query, scorer: Scorer, rows: Rows, count: int, taken: NDArray[np.uint64]) -> Picks:
    ranked = _Ranked(query, ready(query, scorer), rows)
    top, _ = _distinct(query, ranked, wanted=count, start=2 * count, taken=taken)
    scores = top.scores[:count]
    return Picks(top.rows[:count], scores, scorer.value(scores))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows by score."""

    query: Query
    scorer: ReadyScorer
    rows: Rows

    def __call__(self, count: int) -> Top:
        return best(self.query, self.scorer, self.rows, count)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Rows in random order, each `purpose` with its own."""

    rows: Rows
    seed: int
    purpose: str

    def __call__(self, count: int) -> Top:
        drawn = random_subset(self.rows, count, self.seed, purpose=self.purpose)
        drawn = shuffled(drawn, self.seed, purpose=self.purpose)
        return Top(drawn, 1.0 - tie_keys(drawn, self.seed, purpose=self.purpose) / 2.0**64)


def _distinct(
    query: Query, order: _Ranked | _Drawn, *, wanted: int, start: int, taken: NDArray[np.uint64]
) -> tuple[Top, int]:
    """The first `start` rows in an order, more while copies and groups leave fewer than `wanted` distinct ones.

    Copies are last, and of a group there is the first. With them: how many are no copies.
    """
    size = start
    while True:
        top = order(size)
        if query.groups is not None:
            first = first_of_group(query.groups[top.rows])
            top = Top(top.rows[first], top.scores[first])
        hashes = contents(query.features, top.rows)
        distinct = top.rows.size
        if query.features is not None:
            first = first_of_each(hashes, np.arange(hashes.size), taken)
            distinct = int(np.count_nonzero(first))
            last = np.argsort(~first, kind="stable")
            top = Top(top.rows[last], top.scores[last])
        if size >= order.rows.size or distinct >= wanted:
            return top, distinct
        size *= 4


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What a selector may pick from, and who stands by.

    Attributes:
        rows: ascending [n].
        scores: of the rows [n], if a scorer has narrowed them.
        places: whole numbers [n], the lowest first: the rank by that scorer with copies last, else in random order.
        offered: the rows in the first so many places are shown to the selector, so that the reserve, for which there
            are more, never changes the batch.
    """

    rows: Rows
    scores: NDArray[np.float64] | None
    places: NDArray[np.integer]
    offered: int | None = None

    def shown(self, hashes: NDArray[np.uint64] | None, taken: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Positions of what the selector sees: nothing twice, and no copy of what is `taken`."""
        shown = np.ones(self.rows.size, dtype=bool) if hashes is None else first_of_each(hashes, self.places, taken)
        if self.offered is not None:
            shown &= self.places < self.offered
        return np.flatnonzero(shown)

    def standing_by(
        self, shown: NDArray[np.intp], picked: NDArray[np.intp], standby: NDArray[np.float64] | None
    ) -> NDArray[np.intp]:
        """Positions of all that were not picked: those shown first, the soonest ahead, then the others by place."""
        figures = np.full(self.rows.size, -np.inf)
        figures[shown] = 0.0 if standby is None else np.maximum(standby, np.finfo(np.float64).min)
        left = np.setdiff1d(np.arange(self.rows.size), picked, assume_unique=True)
        return left[np.lexsort((self.places[left], -figures[left]))]


def _selected(
    query: Query, selector: Selector, rows: Rows, *, batch: int, count: int, taken: NDArray[np.uint64]
) -> Picks:
    """A selector's picks, then the reserve by its own figure."""
    found = _candidates(query, selector, rows, batch=batch, count=count, taken=taken)
    gathered = _gather(query, selector, found)
    shown = found.shown(None if query.features is None else gathered.hashes, taken)
    selection = Selection(np.empty(0, dtype=np.intp), np.empty(0))
    if shown.size:
        keep = shown if shown.size < found.rows.size else None
        request = _request(query, selector, gathered, found.rows, scores=found.scores, keep=keep, count=max(batch, 1))
        selection = selector.select(request)
    picked = shown[selection.positions[:batch]]
    values = np.full(found.rows.size, np.nan)
    values[shown[selection.positions]] = selection.values
    order = np.concatenate([picked, found.standing_by(shown, picked, selection.standby)])[:count]
    figures = 1.0 - np.arange(order.size) / count
    return Picks(found.rows[order], figures, values[order])


def _candidates(
    query: Query, selector: Selector, rows: Rows, *, batch: int, count: int, taken: NDArray[np.uint64]
) -> _Candidates:
    """Enough for a batch and its reserve."""
    most = _most_candidates(query, selector, rows, batch)
    narrowing = selector.narrowing(max(batch, 1))
    if narrowing is not None:
        ranked = _Ranked(query, ready(query, narrowing.scorer), rows)
        offered = min(max(narrowing.count, batch), most)
        wanted = max(offered, count)
        top, _ = _distinct(query, ranked, wanted=wanted, start=2 * wanted, taken=taken)
        order = np.argsort(top.rows[:wanted])
        return _Candidates(top.rows[order], top.scores[order], order, offered)
    rows = one_of_each(rows, query.groups, query.seed)
    if rows.size > most:
        drawn, _ = _distinct(
            query, _Drawn(rows, query.seed, "sample"), wanted=count, start=max(most, count), taken=taken
        )
        order = np.argsort(drawn.rows[: max(most, count)])
        return _Candidates(drawn.rows[order], None, order, most)
    return _Candidates(rows, None, tie_keys(rows, query.seed))


def _most_candidates(query: Query, selector: Selector, rows: Rows, batch: int) -> int:
    """How many candidates a selector is shown at most."""
    columns = 1
    if "features" in selector.needs and query.features is not None:
        sparse = is_sparse(query.features.take(rows[:1]))
        columns += DIMENSIONS if sparse else query.features.columns
    if "predictions" in selector.needs:
        columns += query.classes if query.probabilities is None else query.probabilities.columns
    return max(min(selector.max_candidates, MOST_NUMBERS // columns), batch)


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

    def __call__(self, part: Part) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        rows = part.rows
        start, stop = int(rows[0]), int(rows[-1]) + 1
        dense = 2 * rows.size > stop - start
        X = self.features.read(start, stop) if dense else self.features.take(rows)
        if dense and rows.size < stop - start:
            X = X[rows - start]
        return self.space.apply(X), row_hashes(X)


def _gather(query: Query, selector: Selector, found: _Candidates) -> _Gathered:
    """Read the candidates' features, block by block of the grid; the space is that of the rows on offer."""
    rows = found.rows
    if query.features is None or ("features" not in selector.needs):
        return _Gathered(nothing(), contents(query.features, rows), None)
    on_offer = rows if found.offered is None else rows[found.places < found.offered]
    sample = random_subset(on_offer, _SPACE_SAMPLE, query.seed, purpose="space")
    space = learn_space(query.features.take(sample), query.seed)
    blocks = occupied(rows, query.candidates.size)
    X = np.empty((rows.size, space.dimensions), dtype=np.float32)
    hashes = np.empty(rows.size, dtype=np.uint64)
    filled = 0
    for comparable, hashed in query.parallel.over_chunks(_GatherBlock(query.features, space), blocks):
        X[filled : filled + hashed.size] = comparable
        hashes[filled : filled + hashed.size] = hashed
        filled += hashed.size
    return _Gathered(X, hashes, space)


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
    labelled: Labelled = query.labelled() if selector.compares_labelled else LabelledRows()
    labelled_rows, labelled_y = labelled.rows, labelled.y
    if gathered.space is not None and labelled_rows.size > _MOST_LABELLED:
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
        y=_codes(query, selector, rows),
        disagreement=_disagreement(query, selector, rows),
        scores=scores,
        labelled_X=labelled_X,
        labelled_y=labelled_y,
        labelled_P=_probabilities(query, selector, labelled_rows) if "labels" in selector.needs else nothing(),
        features=query.features,
        model=None if query.model is None else _CheckedModel(query.model),
        parallel=query.parallel,
    )


def _probabilities(query: Query, selector: Selector, rows: Rows) -> NDArray[np.float32]:
    if "predictions" not in selector.needs or query.probabilities is None:
        return nothing()
    return numbers(np.asarray(query.probabilities.take(rows), dtype=np.float32))


def _codes(query: Query, selector: Selector, rows: Rows) -> NDArray[np.int64]:
    """The class codes of candidates [n], -1 without a label."""
    if "labels" not in selector.needs:
        return np.empty(0, dtype=np.int64)
    codes = np.full(query.candidates.size, -1, dtype=np.int64)
    labelled = query.labelled()
    codes[labelled.rows] = labelled.y
    return codes[rows]


def _disagreement(query: Query, selector: Selector, rows: Rows) -> NDArray[np.float64]:
    if "answers" not in selector.needs or query.disagreement is None:
        return np.empty(0)
    return query.disagreement[rows]


@dataclass(frozen=True, slots=True)
class _CheckedModel:
    """The serving model, which may give no probabilities that are not numbers."""

    model: Predictor

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """What the model gives.

        Raises:
            FloatingPointError: when one is not a number.
        """
        return numbers(self.model.predictions(X))
