"""What no ranking depends on, tried on many small pools."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.catalog.strategies import STRATEGIES
from tests.contract.queries import (
    CLASSES,
    LABELLED,
    SCORERS,
    array_of,
    assert_same,
    contents,
    every_scorer,
    make_query,
    mapped,
    params_of,
    ranked,
)
from tests.learning.pools import SlicedReader, blobs
from workers.learning.matrices import ArrayReader, Rows
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank
from workers.learning.strategies.registry import scorer
from workers.learning.streaming import ready

SIZE = 130
any_strategy = st.sampled_from(sorted(STRATEGIES))
any_scorer = st.sampled_from(sorted(set(SCORERS) - {"random"}))
seeds = st.integers(0, 2**63)
few = settings(max_examples=30, deadline=None)


def pool(seed: int, rows: int = SIZE) -> NDArray[np.float32]:
    """Random features."""
    return blobs(rows, CLASSES, np.random.default_rng(seed))[0]


@few
@given(
    strategy=any_strategy,
    k=st.integers(1, 40),
    reserve=st.integers(0, 40),
    explore=st.floats(0, 1),
    pinned=st.sets(st.integers(0, SIZE - 1), max_size=6),
    open_rows=st.sets(st.integers(0, SIZE - 1), max_size=60),
    points=st.integers(1, SIZE),
    balanced=st.booleans(),
    narrowed=st.none() | st.tuples(any_scorer, st.integers(1, 50)),
    seed=seeds,
)
def test_any_query_gets_a_sound_ranking(
    strategy: str,
    k: int,
    reserve: int,
    explore: float,
    pinned: set[int],
    open_rows: set[int],
    points: int,
    *,
    balanced: bool,
    narrowed: tuple[str, int] | None,
    seed: int,
) -> None:
    X = pool(seed % 1_000)[np.arange(SIZE) % points]
    candidates = np.isin(np.arange(SIZE), list(open_rows))
    first = np.array(sorted(pinned), dtype=np.int64)
    preselect = (narrowed[0], params_of(narrowed[0]), narrowed[1]) if narrowed else None
    query = make_query(
        strategy,
        X,
        k=k,
        reserve=reserve,
        explore=explore,
        pinned=first,
        candidates=candidates,
        class_balanced=balanced,
        preselect=preselect,
        seed=seed,
    )
    ranking = rank(query)
    free = open_rows - pinned
    wanted = len(pinned) + min(max(k - len(pinned), 0) + reserve, len(free))
    assert ranking.rows.size == np.unique(ranking.rows).size <= wanted
    assert ranking.rows.size == wanted or preselect is not None
    assert set(ranking.rows[: len(pinned)].tolist()) == pinned
    assert set(ranking.rows[len(pinned) :].tolist()) <= free
    assert ranking.candidates == len(free)
    assert np.isfinite(ranking.scores).all()
    assert (np.diff(ranking.scores) <= 0).all()


@few
@given(strategy=any_strategy, pieces=st.lists(st.integers(1, SIZE), min_size=3, max_size=3), seed=seeds)
def test_chunks_decide_nothing(strategy: str, pieces: list[int], seed: int) -> None:
    whole = make_query(strategy, pool(seed % 1_000), seed=seed)
    sliced = whole
    for name, piece in zip(("features", "probabilities", "members"), pieces, strict=True):
        sliced = mapped(sliced, partial(SlicedReader, piece=piece), name)
    assert_same(rank(sliced), rank(whole))


@few
@given(strategy=any_scorer, order=st.permutations(range(SIZE)), seed=seeds)
def test_the_order_of_rows_decides_nothing(strategy: str, order: list[int], seed: int) -> None:
    plain = make_query(strategy, pool(seed % 1_000))
    moved = permuted(plain, np.array(order))
    first, second = ranked(plain), ranked(moved)
    np.testing.assert_allclose(second.values, first.values, rtol=1e-4, atol=1e-5)
    behind = rank(replace(plain, k=SIZE))
    last = first.scores[-1]
    unmistakable = behind.rows[behind.scores > last + 3e-6]  # the others may tie for the last places
    assert set(contents(plain, unmistakable)) <= set(contents(moved, second.rows))


def permuted(query: Query, order: Rows) -> Query:
    """The same pool, in which old row `order[i]` is row i."""
    place = np.argsort(order)
    moved = mapped(query, lambda array: ArrayReader(array[order]))
    labelled = place[query.labelled().rows]
    ascending = np.argsort(labelled)
    return replace(
        moved,
        candidates=query.candidates[order],
        labelled=LabelledRows(labelled[ascending], query.labelled().y[ascending]),
    )


@few
@given(strategy=any_strategy, owners=st.lists(st.integers(0, 24), min_size=100, max_size=100), k=st.integers(1, 60))
def test_copies_come_last_wherever_they_are(strategy: str, owners: list[int], k: int) -> None:
    X = pool(7)
    X[LABELLED:] = X[LABELLED + np.array(owners)]
    query = make_query(strategy, X, k=k, reserve=5)
    found = contents(query, ranked(query).rows)
    distinct = min(len(set(owners)), k)
    assert len(set(found[:distinct])) == distinct
    assert len(set(found)) == min(len(set(owners)), k + 5)


@few
@given(strategy=any_scorer, owners=st.lists(st.integers(0, 24), min_size=100, max_size=100), seed=seeds)
def test_of_copies_with_other_probabilities_the_best_comes_first(strategy: str, owners: list[int], seed: int) -> None:
    """Uploaded probabilities may differ for equal features."""
    X = pool(7)
    X[LABELLED:] = X[LABELLED + np.array(owners)]
    other = make_query(strategy, pool(seed % 1_000))
    query = make_query(strategy, X, probabilities=other.probabilities, members=other.members)
    everything = rank(replace(query, features=None, k=SIZE)) if "features" not in STRATEGIES[strategy].needs else None
    found = ranked(query, query.k)
    if everything is not None and len(set(owners)) >= query.k:
        seen: dict[bytes, int] = {}
        for row, content in zip(everything.rows.tolist(), contents(query, everything.rows), strict=True):
            seen.setdefault(content, row)
        assert found.rows.tolist() == list(seen.values())[: query.k]


@few
@given(strategy=any_strategy, seed=seeds)
def test_half_precision_decides_nothing(strategy: str, seed: int) -> None:
    query = mapped(make_query(strategy, pool(seed % 1_000)), lambda array: ArrayReader(array.astype(np.float16)))
    assert_same(rank(query), rank(mapped(query, lambda array: ArrayReader(array.astype(np.float32)))))


@few
@given(strategy=any_scorer, rows=st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=30), seed=seeds)
def test_a_score_is_of_its_row_alone(strategy: str, rows: list[int], seed: int) -> None:
    query = make_query(strategy, pool(seed % 1_000))
    prepared = ready(query, scorer(strategy, query.params, query.task))
    scores = prepared.score(prepared.view.read(0, SIZE))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    some = prepared.score(prepared.view.take(np.array(rows)))
    np.testing.assert_allclose(some, scores[rows], atol=1e-6)


@few
@given(
    strategy=any_scorer, left=st.sets(st.integers(LABELLED, SIZE - 1), min_size=1, max_size=50), explore=st.floats(0, 1)
)
def test_a_random_share_changes_no_figure(strategy: str, left: set[int], explore: float) -> None:
    candidates = np.isin(np.arange(SIZE), list(left))
    query = make_query(strategy, pool(3), candidates=candidates, k=10)
    plain = figures(rank(replace(query, k=SIZE)))
    assert figures(rank(replace(query, explore=explore))).items() <= plain.items()
    assert figures(rank(replace(query, class_balanced=True))).items() <= plain.items()
    assert figures(rank(replace(query, pinned=np.array(sorted(left))[:3]))).items() <= plain.items()


def figures(ranking: Any) -> dict[int, float]:
    """The strategy's figure of each row."""
    return dict(zip(ranking.rows.tolist(), ranking.values.tolist(), strict=True))


@every_scorer
def test_thousands_of_ties_are_drawn_uniformly(strategy: str) -> None:
    """10,000 rows of three scores: the best third has 3,333 rows, of which 200 are drawn."""
    rows, templates = 10_000, make_query(strategy, pool(11, LABELLED + 3))
    kind = np.random.default_rng(0).integers(3, size=rows)
    query = mapped(templates, lambda array: ArrayReader(array[LABELLED:][kind]), "probabilities", "members")
    X = templates.features
    query = replace(query, features=ArrayReader(array_of(X)[LABELLED:][kind]), candidates=np.ones(rows, dtype=bool))
    # Their features are copies, which would come last: only who needs features sees them.
    if "features" not in STRATEGIES[strategy].needs:
        query = replace(query, features=None)
    drawn = [ranked(replace(query, k=200, seed=seed)).rows[3:] for seed in range(5)]
    best = np.bincount(kind[drawn[0]]).argmax()
    tied = np.flatnonzero(kind == best)
    assert all(np.isin(rows, tied).all() for rows in drawn)
    tenths = np.histogram(np.searchsorted(tied, np.concatenate(drawn)), bins=10, range=(0, tied.size))[0]
    expected = tenths.sum() / 10
    assert np.sum((tenths - expected) ** 2) / expected < 27.9  # chi-squared with 9 degrees of freedom: p = 0.001
    assert np.intersect1d(drawn[0], drawn[1]).size < 40
