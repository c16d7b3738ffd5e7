"""Every strategy on unusual pools: copies, holes, sparse, half precision, the ends of float32, 1 and 1,000 classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.catalog.strategies import STRATEGIES
from tests.contract.queries import (
    CLASSES,
    LABELLED,
    MEMBERS,
    ROWS,
    K,
    assert_same,
    assert_sound,
    contents,
    copied_points,
    every_strategy,
    make_query,
    mapped,
    params_of,
    ranked,
)
from tests.learning.pools import blobs
from workers.learning.matrices import ArrayReader
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank

NONE = np.empty(0, dtype=np.int64)
LIMITS = np.finfo(np.float32)


@every_strategy
def test_a_batch_holds_no_copies_while_other_rows_remain(strategy: str) -> None:
    X = copied_points(50, 20)
    few, many = make_query(strategy, X, k=20, reserve=3), make_query(strategy, X, k=60)
    assert len(set(contents(few, ranked(few).rows))) == 23
    assert len(set(contents(many, ranked(many).rows[:50]))) == 50


@every_strategy
def test_a_random_share_and_own_leases_are_not_repeated_by_the_strategy(strategy: str) -> None:
    X = copied_points(50, 20)
    query = make_query(strategy, X, k=25, explore=0.2, pinned=np.array([LABELLED + 3, LABELLED + 4]))
    ranking = ranked(query)
    drawn = ranking.explore.copy()
    drawn[:2] = True
    chosen = contents(query, ranking.rows[~drawn])
    assert len(set(chosen)) == len(chosen) == 25 - np.count_nonzero(drawn)
    assert not set(chosen) & set(contents(query, ranking.rows[drawn]))


@every_strategy
@pytest.mark.parametrize("strange", ["copies of one", "all but few"])
def test_copies_of_one_row_crowd_nobody_out(strategy: str, strange: str) -> None:
    X, _ = blobs(ROWS, CLASSES, np.random.default_rng(5))
    first = 100 if strange == "copies of one" else LABELLED + 3
    X[first:] = 0  # between the classes: what uncertainty wants
    query = make_query(strategy, X, k=150)
    distinct = first - LABELLED + 1
    assert len(set(contents(query, ranked(query).rows[:distinct]))) == distinct


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if "max_candidates" in params_of(name)])
def test_a_sample_of_the_candidates_holds_enough_that_are_no_copies(strategy: str) -> None:
    X, _ = blobs(2_000, CLASSES, np.random.default_rng(5))
    X[LABELLED + 80 :] = 0
    X[LABELLED:] = np.random.default_rng(6).permutation(X[LABELLED:])
    query = make_query(strategy, X, params=params_of(strategy, max_candidates=100), k=60)
    assert len(set(contents(query, ranked(query).rows))) == 60


@every_strategy
def test_holes_are_nobodys_business(strategy: str) -> None:
    """Rows of deleted examples are zeros in every array."""
    query = make_query(strategy)
    holes = np.isin(np.arange(ROWS), [31, 64, *range(100, 200)])
    emptied = mapped(query, lambda array: ArrayReader(np.where(holes[:, np.newaxis], 0, array).astype(np.float32)))
    candidates = query.candidates & ~holes
    assert_same(ranked(replace(query, candidates=candidates)), ranked(replace(emptied, candidates=candidates)))


NO_MODEL: dict[str, Any] = {"probabilities": None, "members": None, "model": None}
NO_LABELS: dict[str, Any] = {"labelled": LabelledRows(), "labels_count": 0, "disagreement": None}


@every_strategy
@pytest.mark.parametrize(
    ("missing", "reasons"),
    [
        (NO_MODEL, {"no_model"}),
        ({"members": None}, {"no_committee"}),
        ({"model": None}, {"no_model"}),
        ({"features": None}, {"no_features"}),
        (NO_LABELS, {"no_labels"}),
    ],
    ids=["no model", "no committee", "no model file", "no features", "no labels"],
)
def test_what_is_missing_leads_to_a_named_fallback(strategy: str, missing: dict[str, Any], reasons: set[str]) -> None:
    assert_named(make_query(strategy, **missing), reasons)


@every_strategy
@pytest.mark.parametrize("model", [{}, NO_MODEL], ids=["a model", "no model"])
def test_one_class_leads_to_a_named_fallback(strategy: str, model: dict[str, Any]) -> None:
    query = make_query(strategy)
    rows = query.labelled().rows
    assert_named(replace(query, labelled=LabelledRows(rows, np.zeros_like(rows)), **model), {"one_class"})
    assert_named(make_query(strategy, classes=1, **model), {"one_class"})


def assert_named(query: Query, reasons: set[str]) -> None:
    """Another strategy than the one asked for says so, with one of these reasons."""
    ranking = rank(query)
    assert_sound(ranking, query, K)
    if ranking.strategy != query.strategy:
        assert ranking.fallback_from == query.strategy
        assert ranking.fallback_reason in reasons
    else:
        assert ranking.fallback_from is ranking.fallback_reason is None


@every_strategy
def test_nothing_at_all_leads_to_a_random_draw(strategy: str) -> None:
    query = make_query(strategy, features=None, **NO_MODEL, **NO_LABELS, reserve=5)
    ranking = rank(query)
    assert_sound(ranking, query, K + 5)
    assert ranking.strategy == "random"


@every_strategy
def test_a_model_that_knows_one_class(strategy: str) -> None:
    query = make_query(strategy)
    sure = np.zeros((ROWS, MEMBERS * CLASSES), dtype=np.float32)
    sure[:, ::CLASSES] = 1
    P = ArrayReader(np.ascontiguousarray(sure[:, :CLASSES]))
    ranked(replace(query, probabilities=P, members=ArrayReader(sure)))


@every_strategy
def test_a_thousand_classes(strategy: str) -> None:
    ranked(make_query(strategy, classes=1_000, labels_count=1_000, class_balanced=True, explore=0.1))


@every_strategy
def test_a_model_from_before_classes_were_added(strategy: str) -> None:
    query = make_query(strategy, labels_count=1_000)
    ranked(replace(query, classes=CLASSES + 2, params=params_of(strategy, CLASSES + 2), class_balanced=True))


@every_strategy
@pytest.mark.parametrize(
    "convert",
    [csr_array, lambda X: csr_array(np.where(X > 0, X, 0)), lambda X: csr_array((X.shape[0], 2**18), dtype=np.float32)],
    ids=["dense values", "positive", "all zero"],
)
def test_sparse_features(strategy: str, convert: Callable[[Any], csr_array]) -> None:
    X, _ = blobs(ROWS, CLASSES, np.random.default_rng(5))
    ranked(make_query(strategy, convert(X)))


@every_strategy
def test_half_precision_gives_the_same_batch_as_its_values_in_single(strategy: str) -> None:
    halves = mapped(make_query(strategy, explore=0.2), lambda array: ArrayReader(array.astype(np.float16)))
    singles = mapped(halves, lambda array: ArrayReader(array.astype(np.float32)))
    assert_same(ranked(halves), ranked(singles))


@every_strategy
@pytest.mark.parametrize("size", [LIMITS.max, 1e19, LIMITS.tiny, LIMITS.smallest_subnormal], ids=str)
def test_huge_and_tiny_values(strategy: str, size: float) -> None:
    X = np.random.default_rng(1).choice(np.array([-size, 0, size], dtype=np.float32), size=(ROWS, 8))
    ranked(make_query(strategy, X, k=40))


@every_strategy
def test_one_huge_row_among_ordinary_ones(strategy: str) -> None:
    X, _ = blobs(ROWS, CLASSES, np.random.default_rng(5))
    X[77] = LIMITS.max
    ranked(make_query(strategy, X))


@every_strategy
def test_one_column_and_no_column_that_varies(strategy: str) -> None:
    ranked(make_query(strategy, np.random.default_rng(2).normal(size=(ROWS, 1)).astype(np.float32)))
    ranked(make_query(strategy, np.full((ROWS, 3), 7, dtype=np.float32)))


@every_strategy
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_never_reach_a_ranking(strategy: str, bad: float) -> None:
    query = make_query(strategy, model=Broken(bad))
    query = mapped(query, lambda array: ArrayReader(np.full_like(array, bad)), "probabilities", "members")
    if {"predictions", "committee", "model"} & set(STRATEGIES[strategy].needs):
        with pytest.raises(FloatingPointError, match="not numbers"):
            rank(query)
    else:
        ranked(query)
    if strategy != "auto":
        with pytest.raises(FloatingPointError, match="not numbers"):
            rank(replace(query, class_balanced=True))


@dataclass(frozen=True, slots=True)
class Broken:
    """A model that has diverged."""

    value: float

    def predictions(self, X: Any) -> NDArray[np.float32]:
        return np.full((X.shape[0], CLASSES), self.value, dtype=np.float32)


@pytest.mark.parametrize("strategy", [name for name, entry in STRATEGIES.items() if "model" in entry.needs])
def test_a_model_that_gives_no_numbers_when_asked(strategy: str) -> None:
    with pytest.raises(FloatingPointError, match="not numbers"):
        rank(make_query(strategy, model=Broken(np.nan)))
