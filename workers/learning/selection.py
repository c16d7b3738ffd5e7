"""The engine that ranks a pool for a query: strategy, preselection, random share, class balance, pinned rows."""

import numpy as np
from numpy.typing import NDArray

from workers.learning.arrangement import arrange
from workers.learning.balance import interleave, quotas
from workers.learning.copies import contents
from workers.learning.matrices import Rows, numbers, occupied
from workers.learning.parallel import single_threaded
from workers.learning.picking import pick, scored
from workers.learning.picks import Picks, no_picks
from workers.learning.plan import Plan, missing, plan
from workers.learning.query import Query, Ranking
from workers.learning.strategies.registry import SCORERS, needs_of, scorer
from workers.learning.ties import random_subset, shuffled


def rank(query: Query) -> Ranking:
    """Rank the `k + reserve` candidates to label next, all of them when there are fewer.

    The same query gives the same ranking, whatever the chunks behind the readers, the engine and the number of jobs.

    Raises:
        ValueError: for an unknown strategy, a `preselect` that is no scorer, or readers with too few rows.
        FloatingPointError: when a model's probabilities are not numbers.
    """
    _check(query)
    with single_threaded():
        return _rank(query, plan(query))


def _check(query: Query) -> None:
    for reader in (query.features, query.probabilities, query.members):
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
    remaining = np.setdiff1d(rows, explored, assume_unique=True) if explored.size else rows
    taken = contents(query.features, np.concatenate([query.pinned, explored]))
    narrowed = _preselected(query, remaining, taken)
    ranked = _ranked(query, chosen, narrowed, room - explored.size, taken)
    arranged = arrange(ranked, scored(query, chosen, query.pinned), scored(query, chosen, explored), room)
    return Ranking(
        rows=arranged.rows,
        scores=arranged.scores,
        values=arranged.values,
        explore=arranged.explore,
        strategy=chosen.strategy,
        ranked_by=chosen.ranked_by,
        params=chosen.params,
        fallback_from=chosen.fallback_from,
        fallback_reason=chosen.fallback_reason,
        candidates=rows.size,
    )


def _preselected(query: Query, rows: Rows, taken: NDArray[np.uint64]) -> Rows:
    """The candidates that `preselect` leaves; without what its scorer needs they are drawn at random."""
    if query.preselect is None:
        return rows
    name, params, count = query.preselect
    if rows.size <= count:
        return rows
    at_random = name == "random" or missing(query, needs_of(name))
    narrowing = Plan(strategy=name, ranked_by=name, scorer=None if at_random else scorer(name, params, query.task))
    return np.sort(pick(query, narrowing, rows, batch=count, reserve=0, taken=taken).rows)


def _ranked(query: Query, chosen: Plan, rows: Rows, batch: int, taken: NDArray[np.uint64]) -> Picks:
    """The strategy's picks: `batch` and the reserve."""
    if rows.size == 0 or batch + query.reserve == 0:
        return no_picks()
    if query.class_balanced and query.probabilities is not None:
        return _balanced(query, chosen, rows, batch, taken)
    return pick(query, chosen, rows, batch=batch, reserve=query.reserve, taken=taken)


def _balanced(query: Query, chosen: Plan, rows: Rows, batch: int, taken: NDArray[np.uint64]) -> Picks:
    """Each predicted class's own picks, in turns: as many as `quotas` gives it for the batch, then for the reserve."""
    predicted = _predicted_classes(query, rows)
    labels = np.bincount(query.labelled().y, minlength=query.classes)
    available = np.bincount(predicted, minlength=query.classes)
    wanted = quotas(labels, available, min(batch, rows.size))
    everything = quotas(labels, available, min(batch + query.reserve, rows.size))
    parts = [
        pick(query, chosen, rows[predicted == code], batch=int(share), reserve=int(total - share), taken=taken)
        for code, (share, total) in enumerate(zip(wanted, everything, strict=True))
        if total
    ]
    return interleave(parts, wanted[everything > 0])


def _predicted_classes(query: Query, rows: Rows) -> Rows:
    assert query.probabilities is not None  # noqa: S101 - the caller looked
    codes = np.empty(rows.size, dtype=np.int64)
    filled = 0
    for start, stop, inside in occupied(rows, query.candidates.size):
        P = numbers(np.asarray(query.probabilities.read(start, stop))[inside - start])
        codes[filled : filled + inside.size] = P.argmax(axis=1)
        filled += inside.size
    return codes
