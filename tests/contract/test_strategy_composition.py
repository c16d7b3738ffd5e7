"""Every strategy with everything that a query can add to it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.catalog.strategies import STRATEGIES
from tests.contract.queries import (
    CLASSES,
    LABELLED,
    ROWS,
    SCORERS,
    assert_same,
    assert_sound,
    contents,
    copied_points,
    every_strategy,
    make_query,
    params_of,
    ranked,
)
from tests.learning.pools import blobs
from workers.learning.balance import quotas
from workers.learning.matrices import ArrayReader
from workers.learning.selection import rank


@every_strategy
def test_candidates_narrowed_by_every_scorer(strategy: str) -> None:
    for name in SCORERS:
        best = ranked(make_query(name, k=60))
        narrowed = ranked(make_query(strategy, preselect=(name, params_of(name), 60)))
        assert set(narrowed.rows) <= set(best.rows), name
        assert narrowed.candidates == best.candidates


@every_strategy
def test_narrowed_candidates_are_no_copies(strategy: str) -> None:
    query = make_query(strategy, copied_points(50, 20), k=20, reserve=10, preselect=("margin", {}, 30))
    assert len(set(contents(query, ranked(query).rows))) == 30


@every_strategy
def test_candidates_narrowed_without_a_committee_are_drawn_at_random(strategy: str) -> None:
    query = make_query(strategy, members=None, preselect=("bald", {}, 60))
    ranking = rank(query)
    assert_sound(ranking, query, query.k)
    missing = strategy if "committee" in STRATEGIES[strategy].needs else "bald"
    assert (ranking.fallback_from, ranking.fallback_reason) == (missing, "no_committee")


@every_strategy
def test_a_filter_leaves_only_who_passes(strategy: str) -> None:
    passing = np.random.default_rng(8).permutation(np.arange(LABELLED, ROWS))[:40]
    query = make_query(strategy, reserve=9)
    query.candidates[:] = np.isin(np.arange(ROWS), passing)
    assert set(ranked(query).rows) <= set(passing)


@every_strategy
@pytest.mark.parametrize("rows", [ROWS, 60])
def test_the_reserve_leaves_the_batch_as_it_is(strategy: str, rows: int) -> None:
    X, _ = blobs(rows, CLASSES, np.random.default_rng(5))
    narrow = {"oversampling": 1} if "oversampling" in STRATEGIES[strategy].parameters["properties"] else {}
    few = {"max_candidates": 100} if "max_candidates" in STRATEGIES[strategy].parameters["properties"] else {}
    for params in (params_of(strategy), params_of(strategy, **narrow), params_of(strategy, **few)):
        alone = ranked(make_query(strategy, X, params=params))
        refilled = rank(make_query(strategy, X, params=params, reserve=150))
        np.testing.assert_array_equal(refilled.rows[: alone.rows.size], alone.rows)
        np.testing.assert_array_equal(refilled.values[: alone.rows.size], alone.values)


@every_strategy
def test_pinned_first_and_the_random_share_spread(strategy: str) -> None:
    ranking = ranked(make_query(strategy, pinned=np.array([50, 40]), explore=0.4, reserve=4))
    assert set(ranking.rows[:2]) == {40, 50}
    assert np.sum(ranking.explore) == 4
    assert not ranking.explore[:2].any()
    assert not ranking.explore[12:].any()
    assert np.diff(np.flatnonzero(ranking.explore)).min() > 1


@every_strategy
def test_pinned_rows_are_all_that_is_left(strategy: str) -> None:
    pinned = np.array([50, 41, 60])
    query = make_query(strategy, candidates=np.zeros(ROWS, dtype=bool), pinned=pinned)
    ranking = rank(query)
    assert set(ranking.rows) == set(pinned)
    assert np.isfinite(ranking.scores).all()
    assert ranking.candidates == 0


@every_strategy
@pytest.mark.parametrize("full", [{"pinned": np.arange(50, 62)}, {"explore": 1.0}], ids=["own leases", "explore"])
def test_a_batch_without_room_is_full_and_has_a_reserve(strategy: str, full: dict[str, Any]) -> None:
    ranking = ranked(make_query(strategy, reserve=7, **full))
    assert np.unique(ranking.rows[12:]).size == 7


@every_strategy
def test_every_predicted_class_gets_its_share(strategy: str) -> None:
    query = make_query(strategy, class_balanced=True, labels_count=LABELLED, reserve=6)
    predicted = np.arange(ROWS) % CLASSES
    predicted[predicted == 2] = np.arange(ROWS // CLASSES) // 90 * 2  # class 2 is rare: 10 rows, the last
    P = np.full((ROWS, CLASSES), 0.2, dtype=np.float32)
    P[np.arange(ROWS), predicted] = 0.6
    labels = np.bincount(query.labelled().y, minlength=CLASSES)
    available = np.bincount(predicted[query.candidates], minlength=CLASSES)
    ranking = ranked(replace(query, probabilities=ArrayReader(P)))
    for size in (query.k, query.k + query.reserve):
        picked = np.bincount(predicted[ranking.rows[:size]], minlength=CLASSES)
        np.testing.assert_array_equal(picked, quotas(labels, available, size))


@every_strategy
def test_of_each_group_there_is_at_most_one(strategy: str) -> None:
    groups = np.arange(ROWS) % 17
    groups[-30:] = 100 + np.arange(30)  # each by itself
    query = make_query(strategy, groups=groups, k=9, reserve=8, pinned=np.array([50]), explore=0.3)
    ranking = rank(query)
    assert np.unique(groups[ranking.rows]).size == ranking.rows.size == 17
    few = rank(replace(query, groups=np.arange(ROWS) % 5, reserve=30, class_balanced=True))
    assert sorted(few.rows % 5) == [0, 1, 2, 3, 4]
    assert few.group_mates == few.candidates - 4  # all that are left: the pinned one is no candidate


@every_strategy
def test_groups_of_one_change_nothing(strategy: str) -> None:
    plain = make_query(strategy, reserve=9, explore=0.3)
    alone = rank(replace(plain, groups=np.arange(ROWS) + 7))
    np.testing.assert_array_equal(alone.rows, rank(plain).rows)
    assert alone.group_mates == 0


@every_strategy
def test_a_higher_priority_goes_first_whatever_the_strategy_says(strategy: str) -> None:
    priorities = np.zeros(ROWS)
    priorities[[44, 47, 51, 53]] = [1.0, np.inf, 2.0, np.inf]
    priorities[60:75] = -1.0
    query = make_query(strategy, priorities=priorities, reserve=ROWS, pinned=np.array([50]))
    ranking = rank(query)
    assert ranking.rows[0] == 50
    assert set(ranking.rows[1:3]) == {47, 53}
    assert ranking.rows[3:5].tolist() == [51, 44]
    assert np.all(np.diff(priorities[ranking.rows[3:]]) <= 0)
    assert set(ranking.rows[-15:]) == set(range(60, 75))
    assert np.all(np.diff(ranking.scores) <= 0)
    assert np.isfinite(ranking.scores).all()


@every_strategy
def test_equal_priorities_change_nothing(strategy: str) -> None:
    plain = make_query(strategy, reserve=9, explore=0.3)
    assert_same(rank(replace(plain, priorities=np.full(ROWS, 3.0))), rank(plain))


@every_strategy
def test_all_at_once(strategy: str) -> None:
    query = make_query(
        strategy,
        k=30,
        reserve=20,
        pinned=np.array([33, 99]),
        explore=0.2,
        class_balanced=True,
        preselect=("entropy", {}, 90),
    )
    query.candidates[150:] = False
    ranking = ranked(query)
    assert np.sum(ranking.explore) in {5, 6}
    assert set(ranking.rows[:2]) == {33, 99}
