from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.learning.pools import blobs, probabilities
from workers.learning import matrices
from workers.learning.matrices import ArrayReader
from workers.learning.parallel import Parallel
from workers.learning.query import Query
from workers.learning.selection import rank
from workers.learning.strategies.base import Block
from workers.learning.strategies.uncertainty import Entropy, Margin

ROWS = 400
RNG = np.random.default_rng(0)
X, _ = blobs(ROWS, 3, RNG)
P = probabilities(ROWS, 3, RNG)
QUERY = Query(
    strategy="margin",
    k=20,
    candidates=np.ones(ROWS, dtype=bool),
    classes=3,
    features=ArrayReader(X),
    probabilities=ArrayReader(P),
)


@given(
    strategy=st.sampled_from(["random", "margin", "k_center"]),
    k=st.integers(1, 30),
    reserve=st.integers(0, 30),
    explore=st.floats(0, 1),
    pinned=st.sets(st.integers(0, ROWS - 1), max_size=6),
    open_rows=st.sets(st.integers(0, ROWS - 1), max_size=60),
    seed=st.integers(0, 2**63),
)
def test_any_query_gets_a_sound_ranking(
    strategy: str, k: int, reserve: int, explore: float, pinned: set[int], open_rows: set[int], seed: int
) -> None:
    candidates = np.zeros(ROWS, dtype=bool)
    candidates[sorted(open_rows)] = True
    first = np.array(sorted(pinned), dtype=np.int64)
    ranking = rank(
        replace(
            QUERY,
            strategy=strategy,
            k=k,
            reserve=reserve,
            explore=explore,
            pinned=first,
            candidates=candidates,
            seed=seed,
        )
    )
    free = open_rows - pinned
    room = max(k - len(pinned), 0) + reserve
    assert ranking.rows.size == len(pinned) + min(room, len(free)) == np.unique(ranking.rows).size
    assert set(ranking.rows[: len(pinned)].tolist()) == pinned
    assert set(ranking.rows[len(pinned) :].tolist()) <= free
    assert ranking.candidates == len(free)
    assert np.isfinite(ranking.scores).all()
    assert (np.diff(ranking.scores) <= 0).all()


def test_margin_ranks_like_a_sort_of_the_whole_pool() -> None:
    ordered = np.sort(P, axis=1)
    expected = np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")[:20]
    ranking = rank(QUERY)
    assert ranking.rows.tolist() == expected.tolist()
    np.testing.assert_allclose(ranking.values, (ordered[:, -1] - ordered[:, -2])[expected], atol=1e-6)
    np.testing.assert_allclose(ranking.scores, 1 - ranking.values, atol=1e-9)


def test_preselect_narrows_what_the_strategy_sees() -> None:
    ranking = rank(replace(QUERY, strategy="k_center", preselect=("margin", {}, 30)))
    best = np.argsort(-Margin().score(Block(P=P)))[:30]
    assert set(ranking.rows) <= set(best)
    by_entropy = rank(replace(QUERY, strategy="entropy", preselect=("margin", {}, 30)))
    assert by_entropy.rows.tolist() == best[np.argsort(-Entropy().score(Block(P=P[best])))][:20].tolist()


def test_preselect_without_a_model_draws_at_random() -> None:
    ranking = rank(replace(QUERY, strategy="k_center", preselect=("margin", {}, 20), probabilities=None))
    assert (ranking.strategy, ranking.fallback_from, ranking.fallback_reason) == ("k_center", "margin", "no_model")
    assert ranking.rows.size == 20


def test_preselect_by_a_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot narrow"):
        rank(replace(QUERY, preselect=("typiclust", {}, 20)))


def test_arrays_shorter_than_the_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="arrays end before"):
        rank(replace(QUERY, probabilities=ArrayReader(P[:-1])))


def test_explored_rows_are_a_uniform_draw_of_the_right_size() -> None:
    drawn: list[int] = []
    for seed in range(300):
        ranking = rank(replace(QUERY, k=5, explore=0.1, seed=seed))
        assert ranking.rows.size == 5
        drawn.extend(ranking.rows[ranking.explore].tolist())
    assert 100 < len(drawn) < 200  # half a row per batch
    assert abs(np.mean(drawn) - ROWS / 2) < 35
    assert np.unique(drawn).size > 0.7 * len(drawn)


def test_random_differs_by_seed() -> None:
    first, second = (rank(replace(QUERY, strategy="random", seed=seed)).rows for seed in (1, 2))
    assert np.intersect1d(first, second).size < 10


def test_processes_give_the_same_ranking_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rank(QUERY)
    monkeypatch.setattr(matrices, "GRID", 128)
    told: list[tuple[int, int, str]] = []
    ranking = rank(
        replace(
            QUERY, parallel=Parallel("loky", 2), progress=lambda done, total, phase: told.append((done, total, phase))
        )
    )
    np.testing.assert_array_equal(ranking.rows, expected.rows)
    assert told == [(done, 4, "scoring") for done in (1, 2, 3, 4)]
