"""What every strategy of the catalogue promises on an ordinary pool. A new entry is tested by being listed."""

from dataclasses import replace

import numpy as np
import pytest

from service.catalog.strategies import DEFAULT_STRATEGY, STRATEGIES
from tests.contract.queries import (
    LABELLED,
    ROWS,
    array_of,
    assert_same,
    assert_sound,
    every_strategy,
    make_query,
    mapped,
    ranked,
    untouched,
)
from tests.learning.pools import SlicedReader
from workers.learning import matrices
from workers.learning.parallel import Parallel
from workers.learning.plan import plan
from workers.learning.query import Labelled
from workers.learning.selection import rank
from workers.learning.strategies.registry import NAMES


def test_catalogue_and_implementations_name_the_same_strategies() -> None:
    assert set(STRATEGIES) == NAMES
    assert DEFAULT_STRATEGY in STRATEGIES


@every_strategy
def test_gives_the_right_count_of_distinct_candidates(strategy: str) -> None:
    query = make_query(strategy, reserve=7)
    ranking = ranked(query)
    assert ranking.candidates == np.count_nonzero(query.candidates)
    assert ranking.params == query.params


@every_strategy
def test_same_seed_same_answer(strategy: str) -> None:
    assert_same(rank(make_query(strategy, explore=0.2)), rank(make_query(strategy, explore=0.2)))


@every_strategy
@pytest.mark.parametrize("parallel", [Parallel(), Parallel("threads", 2), Parallel("loky", 2)], ids=str)
def test_any_chunking_and_engine_same_answer(
    strategy: str, parallel: Parallel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_query(strategy, explore=0.25, reserve=20)
    expected = rank(whole)
    monkeypatch.setattr(matrices, "GRID", 64)
    assert_same(rank(replace(mapped(whole, lambda array: SlicedReader(array, 7)), parallel=parallel)), expected)


@every_strategy
def test_leaves_its_inputs_alone(strategy: str) -> None:
    query = make_query(strategy, pinned=np.array([40, 41]), explore=0.3)
    arrays = [array_of(reader) for reader in (query.features, query.probabilities, query.members)]
    with untouched(query.candidates, query.labelled().rows, query.labelled().y, query.pinned, *arrays):
        rank(query)


@every_strategy
def test_empty_pool_gives_an_empty_ranking(strategy: str) -> None:
    ranked(make_query(strategy, candidates=np.zeros(ROWS, dtype=bool), explore=0.5, reserve=3), 0)


@every_strategy
def test_pool_without_rows_gives_an_empty_ranking(strategy: str) -> None:
    query = make_query(strategy, np.zeros((0, 4), dtype=np.float32))
    assert_sound(rank(query), query, 0)


@every_strategy
@pytest.mark.parametrize("left", [1, 2, 5])
@pytest.mark.parametrize("k", [3, 2_000])
def test_exhausted_pool_gives_all_that_is_left(strategy: str, left: int, k: int) -> None:
    ranked(make_query(strategy, candidates=np.arange(ROWS) >= ROWS - left, explore=0.3, reserve=20, k=k), left)


@every_strategy
def test_batch_of_the_whole_pool(strategy: str) -> None:
    ranked(make_query(strategy, k=ROWS), ROWS - LABELLED)


@every_strategy
def test_ties_fall_differently_by_seed_and_not_by_row(strategy: str) -> None:
    flat = np.ones((ROWS, 4), dtype=np.float32)
    first, second = (ranked(make_query(strategy, flat, seed=seed)).rows.tolist() for seed in (1, 2))
    assert first != second
    assert first != sorted(first)
    assert np.abs(np.mean(first + second) - (ROWS + LABELLED) / 2) < 70  # 4 standard deviations


@every_strategy
def test_defaults_of_the_catalogue_are_those_of_the_code(strategy: str) -> None:
    query = make_query(strategy)
    needed = {name: query.params[name] for name in STRATEGIES[strategy].parameters.get("required", ())}
    assert_same(rank(query), rank(replace(query, params=needed)))


@every_strategy
def test_labelled_rows_are_read_only_for_what_compares_with_them(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, reads = make_query(strategy), 0

    def read() -> Labelled:
        nonlocal reads
        reads += 1
        return query.labelled()

    ranking = rank(replace(query, labelled=read))
    selector = plan(query).selector
    assert bool(reads) == (selector is not None and selector.compares_labelled)
    if selector is not None:
        monkeypatch.setattr(type(selector), "compares_labelled", True)
        assert_same(rank(query), ranking)
