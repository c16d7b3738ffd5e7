"""What strategies promise for several classes an example, and for numbers. A new entry is tested by being listed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.catalog.parameters import resolve, with_codes
from service.catalog.strategies import STRATEGIES
from tests.contract.queries import (
    array_of,
    assert_same,
    assert_sound,
    contents,
    copied_points,
    mapped,
    ranked,
    untouched,
)
from tests.learning.pools import SlicedReader, blobs
from workers.learning import matrices
from workers.learning.matrices import ArrayReader
from workers.learning.parallel import Parallel
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank

ROWS, LABELLED, CLASSES, MEMBERS = 240, 30, 4, 3

each = pytest.mark.parametrize(
    ("strategy", "task"),
    [(name, task) for name, entry in STRATEGIES.items() for task in entry.tasks if task != "classification"],
)


def params_of(strategy: str) -> dict[str, Any]:
    schema = STRATEGIES[strategy].parameters
    names = [f"class {code}" for code in range(CLASSES)]
    chosen = {"target_class": names[-1]} if "target_class" in schema["properties"] else {}
    return with_codes(schema, resolve(schema, chosen, classes=names), names)


def make_query(strategy: str, task: str, X: Any = None, **changes: Any) -> Query:
    """A query among the rows behind the first 30, which are labelled; the model says random things."""
    rng = np.random.default_rng(6)
    X = blobs(ROWS, 3, np.random.default_rng(5))[0] if X is None else X
    rows = np.arange(LABELLED)
    if task == "multi_label":
        P = rng.uniform(size=(len(X), CLASSES)).astype(np.float32)
        y: Any = (P[rows] > 0.5).astype(np.int64)
    else:
        P = np.column_stack([rng.normal(size=len(X)), rng.gamma(1.0, size=len(X))]).astype(np.float32)
        y = P[rows, 0].astype(np.float64)
    query = Query(
        strategy=strategy,
        task=task,  # type: ignore[arg-type]  # from the catalogue
        params=params_of(strategy),
        k=12,
        seed=3,
        candidates=np.arange(len(X)) >= LABELLED,
        classes=CLASSES if task == "multi_label" else 0,
        features=ArrayReader(X),
        probabilities=ArrayReader(P),
        members=ArrayReader(np.hstack([np.roll(P, turn, axis=0) for turn in range(MEMBERS)])),
        labelled=LabelledRows(rows, y),
        labels_count=LABELLED,
    )
    return replace(query, **changes)


@each
def test_gives_the_right_count_of_distinct_candidates(strategy: str, task: str) -> None:
    ranked(make_query(strategy, task, reserve=7, pinned=np.array([40, 41]), explore=0.2))


@each
@pytest.mark.parametrize("parallel", [Parallel(), Parallel("threads", 2)], ids=str)
def test_any_chunking_and_engine_same_answer(
    strategy: str, task: str, parallel: Parallel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_query(strategy, task, explore=0.25, reserve=20)
    expected = rank(whole)
    monkeypatch.setattr(matrices, "GRID", 64)
    sliced = mapped(whole, lambda array: SlicedReader(array, 7))
    assert_same(rank(replace(sliced, parallel=parallel)), expected)


@each
def test_leaves_its_inputs_alone(strategy: str, task: str) -> None:
    query = make_query(strategy, task)
    arrays = [array_of(reader) for reader in (query.features, query.probabilities, query.members)]
    with untouched(query.candidates, query.labelled().rows, query.labelled().y, *arrays):
        rank(query)


@each
def test_the_reserve_leaves_the_batch_as_it_is(strategy: str, task: str) -> None:
    alone, refilled = rank(make_query(strategy, task)), rank(make_query(strategy, task, reserve=100))
    np.testing.assert_array_equal(refilled.rows[:12], alone.rows)


@each
def test_a_batch_holds_no_copies_while_other_rows_remain(strategy: str, task: str) -> None:
    query = make_query(strategy, task, copied_points(40, 6), k=20, reserve=3)
    assert len(set(contents(query, ranked(query).rows))) == 23


@each
def test_everything_is_ranked_at_the_end_of_the_pool(strategy: str, task: str) -> None:
    query = make_query(strategy, task, k=ROWS, reserve=5)
    ranked(query, ROWS - LABELLED)
    ranked(replace(query, candidates=np.zeros(ROWS, dtype=bool)), 0)


@each
def test_without_a_model_another_strategy_stands_in(strategy: str, task: str) -> None:
    query = make_query(strategy, task, probabilities=None, members=None, labelled=LabelledRows(), labels_count=0)
    found = rank(query)
    assert_sound(found, query, 12)
    alone = {"auto"} if task == "regression" else set()
    needs_model = {"predictions", "labels", "committee"} & set(STRATEGIES[strategy].needs) and strategy not in alone
    assert found.fallback_reason == ("no_model" if needs_model else None)
