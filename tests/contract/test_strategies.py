"""What every strategy of the catalogue promises. A new entry is tested by being listed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from service.catalog.parameters import resolve
from service.catalog.strategies import DEFAULT_STRATEGY, STRATEGIES
from tests.learning.pools import SlicedReader, blobs, probabilities
from workers.learning import matrices
from workers.learning.matrices import ArrayReader
from workers.learning.parallel import Parallel
from workers.learning.query import Query, Ranking
from workers.learning.selection import rank
from workers.learning.strategies.registry import NAMES

ROWS, CLASSES, LABELLED = 300, 3, 30

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def make_query(strategy: str, **changes: Any) -> Query:
    """A query of 12 among 270 candidates, with a model, by the strategy's default parameters."""
    rng = np.random.default_rng(5)
    X, y = blobs(ROWS, CLASSES, rng)
    P = probabilities(ROWS, CLASSES, rng)
    candidates = np.ones(ROWS, dtype=bool)
    candidates[:LABELLED] = False
    query = Query(
        strategy=strategy,
        params=resolve(STRATEGIES[strategy].parameters, {}),
        k=12,
        seed=3,
        candidates=candidates,
        classes=CLASSES,
        features=ArrayReader(X),
        probabilities=ArrayReader(P),
        labelled_rows=np.arange(LABELLED),
        labelled_codes=y[:LABELLED],
        labels_count=LABELLED,
    )
    return replace(query, **changes)


def assert_sound(ranking: Ranking, query: Query, size: int) -> None:
    """The promises that hold for every answer."""
    assert ranking.rows.size == size
    assert np.unique(ranking.rows).size == size
    assert query.candidates[ranking.rows].all()
    assert np.isfinite(ranking.scores).all()
    assert (np.diff(ranking.scores) <= 0).all()
    assert ranking.scores.shape == ranking.values.shape == ranking.explore.shape == (size,)
    assert ranking.strategy in NAMES


def test_catalogue_and_implementations_name_the_same_strategies() -> None:
    assert set(STRATEGIES) == NAMES
    assert DEFAULT_STRATEGY in STRATEGIES


@every_strategy
def test_gives_the_right_count_of_distinct_candidates(strategy: str) -> None:
    query = make_query(strategy, reserve=7)
    ranking = rank(query)
    assert_sound(ranking, query, 19)
    assert (ranking.strategy, ranking.fallback_from) == (strategy, None)
    assert ranking.candidates == ROWS - LABELLED


@every_strategy
def test_same_seed_same_answer(strategy: str) -> None:
    first, second = rank(make_query(strategy)), rank(make_query(strategy))
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.scores, second.scores)


@every_strategy
@pytest.mark.parametrize("parallel", [Parallel(), Parallel("threads", 2)], ids=["one", "threads"])
def test_any_chunking_same_answer(strategy: str, parallel: Parallel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_query(strategy, explore=0.25)
    assert whole.features is not None
    assert whole.probabilities is not None
    monkeypatch.setattr(matrices, "GRID", 64)
    sliced = replace(
        whole,
        features=SlicedReader(whole.features.read(0, ROWS), 7),
        probabilities=SlicedReader(whole.probabilities.read(0, ROWS), 100),
        parallel=parallel,
    )
    on_small_grid = rank(sliced)
    monkeypatch.undo()
    np.testing.assert_array_equal(on_small_grid.rows, rank(whole).rows)


@every_strategy
def test_leaves_its_inputs_alone(strategy: str) -> None:
    query = make_query(strategy, pinned=np.array([40, 41]))
    assert query.features is not None
    assert query.probabilities is not None
    arrays: list[Any] = [query.candidates, query.labelled_rows, query.labelled_codes, query.pinned]
    arrays += [query.features.read(0, ROWS), query.probabilities.read(0, ROWS)]
    for array in arrays:
        array.setflags(write=False)
    rank(query)


@every_strategy
def test_empty_pool_gives_an_empty_ranking(strategy: str) -> None:
    query = make_query(strategy, candidates=np.zeros(ROWS, dtype=bool), explore=0.5, reserve=3)
    assert_sound(rank(query), query, 0)


@every_strategy
def test_pool_without_rows_gives_an_empty_ranking(strategy: str) -> None:
    query = make_query(
        strategy,
        candidates=np.zeros(0, dtype=bool),
        features=ArrayReader(np.zeros((0, 4), dtype=np.float32)),
        probabilities=ArrayReader(np.zeros((0, CLASSES), dtype=np.float32)),
        labelled_rows=np.zeros(0, dtype=np.int64),
        labelled_codes=np.zeros(0, dtype=np.int64),
    )
    assert_sound(rank(query), query, 0)


@every_strategy
@pytest.mark.parametrize("left", [1, 5])
def test_exhausted_pool_gives_all_that_is_left(strategy: str, left: int) -> None:
    candidates = np.zeros(ROWS, dtype=bool)
    candidates[-left:] = True
    query = make_query(strategy, candidates=candidates, explore=0.3, reserve=20)
    assert_sound(rank(query), query, left)


@every_strategy
def test_ties_fall_differently_by_seed_and_not_by_row(strategy: str) -> None:
    flat = {
        "features": ArrayReader(np.ones((ROWS, 4), dtype=np.float32)),
        "probabilities": ArrayReader(np.full((ROWS, CLASSES), 1 / CLASSES, dtype=np.float32)),
    }
    rows = [rank(make_query(strategy, seed=seed, **flat)).rows.tolist() for seed in (1, 2)]
    assert rows[0] != rows[1]
    assert rows[0] != sorted(rows[0])


@pytest.mark.parametrize("strategy", [name for name, entry in STRATEGIES.items() if entry.kind != "scorer"])
def test_copies_of_a_row_come_last_in_a_set(strategy: str) -> None:
    query = make_query(strategy)
    assert query.features is not None
    assert query.probabilities is not None
    X, P = query.features.read(0, ROWS).copy(), query.probabilities.read(0, ROWS).copy()
    X[100:] = X[100]
    P[100:] = 1 / CLASSES  # the copies are the least certain of all
    ranking = rank(replace(query, features=ArrayReader(X), probabilities=ArrayReader(P), k=60))
    distinct = 71 if strategy != "auto" else 60
    assert np.sum(ranking.rows[:distinct] >= 100) <= 1


def test_auto_looks_further_when_the_least_certain_are_copies() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), 20, axis=0)
    distance = np.linspace(0, 1, X.shape[0], dtype=np.float32)
    P = np.column_stack([(1 + distance) / 2, (1 - distance) / 2, np.zeros_like(distance)])
    query = make_query(
        "auto",
        k=50,
        candidates=np.ones(X.shape[0], dtype=bool),
        features=ArrayReader(X),
        probabilities=ArrayReader(P),
    )
    picked = X[rank(query).rows]
    assert np.unique(picked, axis=0).shape[0] == 50


@every_strategy
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"probabilities": None}, "no_model"),
        ({"probabilities": None, "labelled_codes": np.zeros(LABELLED, dtype=np.int64)}, "one_class"),
        ({"classes": 1}, "one_class"),
        ({"features": None}, "no_features"),
        ({"features": None, "probabilities": None}, "no_"),
    ],
    ids=["no model", "one class labelled", "one class at all", "no features", "nothing"],
)
def test_what_is_missing_leads_to_a_named_fallback(strategy: str, changes: dict[str, Any], reason: str) -> None:
    query = make_query(strategy, **changes)
    ranking = rank(query)
    assert_sound(ranking, query, 12)
    if ranking.strategy == strategy:
        assert ranking.fallback_from is ranking.fallback_reason is None
        missing = {"features", "predictions"} & set(STRATEGIES[strategy].needs)
        assert not missing & ({"features"} if reason == "no_features" else {"predictions"})
    else:
        assert ranking.fallback_from == strategy
        assert ranking.fallback_reason is not None
        assert ranking.fallback_reason.startswith(reason)


@every_strategy
@pytest.mark.parametrize(
    "convert",
    [csr_array, lambda X: csr_array(np.where(X > 0, X, 0)), lambda X: csr_array((X.shape[0], 2**18), dtype=np.float32)],
    ids=["dense values", "positive", "all zero"],
)
def test_sparse_features(strategy: str, convert: Callable[[Any], csr_array]) -> None:
    query = make_query(strategy)
    assert query.features is not None
    query = replace(query, features=ArrayReader(convert(query.features.read(0, ROWS))))
    assert_sound(rank(query), query, 12)


@every_strategy
def test_half_precision_gives_the_same_batch_as_its_values_in_single(strategy: str) -> None:
    query = make_query(strategy)
    assert query.features is not None
    assert query.probabilities is not None
    halves = [reader.read(0, ROWS).astype(np.float16) for reader in (query.features, query.probabilities)]
    answers = []
    for X, P in (halves, [array.astype(np.float32) for array in halves]):
        half = replace(query, features=ArrayReader(X), probabilities=ArrayReader(P))
        answers.append(rank(half).rows)
        assert_sound(rank(half), half, 12)
    np.testing.assert_array_equal(answers[0], answers[1])


@every_strategy
def test_values_at_the_end_of_float32(strategy: str) -> None:
    query = make_query(strategy)
    X = np.zeros((ROWS, 4), dtype=np.float32)
    X[::2] = np.finfo(np.float32).max
    X[::3] = -np.finfo(np.float32).max
    query = replace(query, features=ArrayReader(X))
    assert_sound(rank(query), query, 12)


@every_strategy
def test_defaults_of_the_catalogue_are_those_of_the_code(strategy: str) -> None:
    explicit, bare = rank(make_query(strategy)), rank(make_query(strategy, params={}))
    np.testing.assert_array_equal(explicit.rows, bare.rows)


@every_strategy
def test_pinned_first_and_the_random_share_spread(strategy: str) -> None:
    query = make_query(strategy, pinned=np.array([50, 10]), explore=0.4, k=12, reserve=4)
    ranking = rank(query)
    assert ranking.rows.size == 16
    assert set(ranking.rows[:2]) == {10, 50}
    assert np.sum(ranking.explore) == 4
    assert not ranking.explore[:2].any()
    assert not ranking.explore[12:].any()
    assert np.diff(np.flatnonzero(ranking.explore)).min() > 1
    assert np.unique(ranking.rows).size == 16
    assert (np.diff(ranking.scores) <= 0).all()


@every_strategy
@pytest.mark.parametrize("labelled", [0, LABELLED])
@pytest.mark.parametrize("full", [{"pinned": np.arange(50, 62)}, {"explore": 1.0}], ids=["own leases", "explore"])
def test_a_batch_without_room_is_full_and_has_a_reserve(strategy: str, labelled: int, full: dict[str, Any]) -> None:
    rows, codes = np.arange(labelled), np.arange(labelled) % CLASSES
    query = make_query(strategy, reserve=7, labelled_rows=rows, labelled_codes=codes, labels_count=labelled, **full)
    assert_sound(rank(query), query, 19)
