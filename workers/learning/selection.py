"""The engine that ranks a pool for a query: strategy, preselection, random share, class balance, priorities, groups."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from workers.learning.arrangement import arrange
from workers.learning.balance import interleave, quotas
from workers.learning.copies import contents
from workers.learning.groups import best_of_group, draw, first_of_group, in_groups_of
from workers.learning.matrices import Rows, occupied
from workers.learning.parallel import single_threaded
from workers.learning.picking import pick, scored
from workers.learning.picks import Picks, joined, no_picks
from workers.learning.plan import Plan, missing, plan
from workers.learning.priorities import Stage, never_rising, stages
from workers.learning.query import Query, Ranking, no_rows
from workers.learning.scoring import BestClass
from workers.learning.strategies.registry import SCORERS, needs_of, scorer


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
    candidates = np.flatnonzero(eligible)
    rows = candidates[~in_groups_of(query.groups, candidates, query.pinned)]
    rng = np.random.default_rng([query.seed, rows.size])  # another draw once the candidates have changed
    room = max(query.k - query.pinned.size, 0)
    # A fractional share is rounded up or down at random, so that it holds on average for any batch size.
    share = min(int(query.explore * room + rng.random()), room)
    drawn = draw(rows, query.groups, share, query.seed)
    remaining = np.setdiff1d(rows, drawn.rows, assume_unique=True) if drawn.rows.size else rows
    remaining = remaining[~in_groups_of(query.groups, remaining, drawn.rows)]
    ranked = _by_priority(query, chosen, remaining, room - drawn.rows.size, np.concatenate([query.pinned, drawn.rows]))
    arranged = arrange(ranked, scored(query, chosen, query.pinned), scored(query, chosen, drawn.rows), room)
    propensities = np.full(arranged.rows.size, np.nan)
    propensities[arranged.explore] = drawn.propensities_of(arranged.rows[arranged.explore])
    return Ranking(
        rows=arranged.rows,
        scores=arranged.scores,
        values=arranged.values,
        explore=arranged.explore,
        propensities=propensities,
        strategy=chosen.strategy,
        ranked_by=chosen.ranked_by,
        params=chosen.params,
        fallback_from=chosen.fallback_from,
        fallback_reason=chosen.fallback_reason,
        candidates=candidates.size,
        group_mates=_group_mates(query, candidates, arranged.rows),
    )


def _group_mates(query: Query, candidates: Rows, ranked: Rows) -> int:
    """How many candidates stay out because another of their group is ranked."""
    if query.groups is None:
        return 0
    left = np.setdiff1d(candidates, ranked, assume_unique=True)
    return int(np.count_nonzero(in_groups_of(query.groups, left, ranked)))


def _by_priority(query: Query, chosen: Plan, rows: Rows, batch: int, before: Rows) -> Picks:
    """The picks for the batch and the reserve, those of a higher priority first; no copies of the rows `before`."""
    taken = contents(query.features, before)
    if query.priorities is None:
        return _ranked(query, chosen, Stage(rows, batch, query.reserve), taken)
    parts = []
    for stage in stages(rows, query.priorities[rows], query.groups, batch=batch, reserve=query.reserve):
        part = _ranked(query, chosen, stage, taken)
        parts.append(part.ordered(np.argsort(-query.priorities[part.rows], kind="stable")))
        taken = np.concatenate([taken, contents(query.features, part.rows)])
    picks = joined(parts)
    return replace(picks, scores=never_rising(picks.scores, query.priorities[picks.rows], batch))


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


def _ranked(query: Query, chosen: Plan, stage: Stage, taken: NDArray[np.uint64]) -> Picks:
    """The strategy's picks of a stage."""
    rows = stage.rows if stage.whole else _preselected(query, stage.rows, taken)
    if rows.size == 0 or stage.batch + stage.reserve == 0:
        return no_picks()
    if query.class_balanced and query.probabilities is not None:
        return _balanced(query, chosen, replace(stage, rows=rows), taken)
    return pick(query, chosen, rows, batch=stage.batch, reserve=stage.reserve, taken=taken)


def _balanced(query: Query, chosen: Plan, stage: Stage, taken: NDArray[np.uint64]) -> Picks:
    """Each predicted class's own picks, in turns: as many as `quotas` gives it for the batch, then for the reserve."""
    rows, predicted = stage.rows, _predicted_classes(query, stage.rows)
    labels = np.bincount(query.labelled().y, minlength=query.classes)
    if query.groups is not None:
        rows, predicted = _rarest_of_group(query.groups, rows, predicted, labels)
    counted = predicted if query.groups is None else predicted[first_of_group(query.groups[rows])]
    available = np.bincount(counted, minlength=query.classes)
    wanted = quotas(labels, available, min(stage.batch, counted.size))
    everything = quotas(labels, available, min(stage.batch + stage.reserve, counted.size))
    parts = [
        pick(query, chosen, rows[predicted == code], batch=int(share), reserve=int(total - share), taken=taken)
        for code, (share, total) in enumerate(zip(wanted, everything, strict=True))
        if total
    ]
    return interleave(parts, wanted[everything > 0])


def _rarest_of_group(
    groups: NDArray[np.int64], rows: Rows, predicted: Rows, labels: NDArray[np.int64]
) -> tuple[Rows, Rows]:
    """Rows of which all of a group are predicted as one class: as that with the fewest labels of those in it."""
    place = np.empty(labels.size)
    place[np.argsort(labels, kind="stable")] = np.arange(labels.size)
    rarest = best_of_group(groups[rows], -place[predicted])
    return rows[rarest], predicted[rarest]


def _predicted_classes(query: Query, rows: Rows) -> Rows:
    assert query.probabilities is not None  # noqa: S101 - the caller looked
    parts = occupied(rows, query.candidates.size)
    found = query.parallel.over_chunks(BestClass(query.probabilities), parts)
    return np.concatenate([*(codes for _, codes in found), no_rows()])
