from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.learning.pools import blobs, probabilities
from workers.learning.balance import quotas
from workers.learning.matrices import ArrayReader, Rows
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank


def one_at_a_time(labels: NDArray[np.int64], available: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The rule as it is said, pick by pick."""
    given = np.zeros_like(labels)
    for _ in range(count):
        open_classes = np.flatnonzero(given < available)
        given[open_classes[np.argmin((labels + given)[open_classes])]] += 1
    return given


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6), st.floats(0, 1))
def test_quotas_follow_the_rule(classes: list[tuple[int, int]], share: float) -> None:
    labels, available = np.array(classes).T
    count = int(share * available.sum())
    np.testing.assert_array_equal(quotas(labels, available, count), one_at_a_time(labels, available, count))


@pytest.mark.parametrize("strategy", ["margin", "k_center", "random"])
def test_rare_classes_get_their_share(strategy: str) -> None:
    rng = np.random.default_rng(0)
    X, _ = blobs(500, 3, rng)
    P = probabilities(500, 3, rng)
    P[40:, 2] *= 0.01  # only the first 40 rows are ever predicted as the last class
    P /= P.sum(axis=1, keepdims=True)
    query = Query(
        strategy=strategy,
        k=12,
        reserve=6,
        candidates=np.ones(500, dtype=bool),
        classes=3,
        features=ArrayReader(X),
        probabilities=ArrayReader(P),
        labelled=LabelledRows(np.arange(4), np.array([0, 0, 0, 1])),
        class_balanced=True,
    )
    ranking = rank(query)
    assert ranking.rows.size == np.unique(ranking.rows).size == 18
    # 3, 1 and 0 labels become 6, 5 and 5 (16 in all).
    assert np.bincount(P[ranking.rows[:12]].argmax(axis=1), minlength=3).tolist() == [3, 4, 5]
    assert rank(replace(query, probabilities=None)).rows.size == 18


@dataclass(frozen=True, slots=True)
class CountingReader(ArrayReader):
    """Knows how many rows were read."""

    counted: list[int] = field(default_factory=list)

    def read(self, start: int, stop: int) -> Any:
        self.counted.append(stop - start)
        return ArrayReader.read(self, start, stop)

    def take(self, rows: Rows) -> Any:
        self.counted.append(rows.size)
        return ArrayReader.take(self, rows)


def test_many_classes_take_few_passes_over_the_pool() -> None:
    P = CountingReader(probabilities(4_000, 50, np.random.default_rng(2)))
    query = Query(
        strategy="margin",
        k=60,
        candidates=np.ones(4_000, dtype=bool),
        classes=50,
        probabilities=P,
        class_balanced=True,
    )
    assert rank(query).rows.size == 60
    assert sum(P.counted) <= 3 * P.rows
