from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.learning.pools import blobs, probabilities
from workers.learning.matrices import ArrayReader
from workers.learning.plan import plan
from workers.learning.query import LabelledRows, Query
from workers.learning.strategies.hybrid import DiverseMiniBatch
from workers.learning.strategies.uncertainty_herding import UncertaintyHerding

RNG = np.random.default_rng(0)
WARM = Query(
    strategy="auto",
    k=10,
    candidates=np.ones(1_000, dtype=bool),
    classes=4,
    features=ArrayReader(blobs(1_000, 4, RNG)[0]),
    probabilities=ArrayReader(probabilities(1_000, 4, RNG)),
    labelled=LabelledRows(np.arange(12), np.arange(12) % 3),
    labels_count=12,
)
ONE_CLASS = LabelledRows(np.arange(12), np.zeros(12, dtype=np.int64))


@pytest.mark.parametrize(
    ("changes", "strategy", "reason"),
    [
        ({}, "auto", None),
        ({"probabilities": None, "labels_count": 500}, "typiclust", "no_model"),
        ({"probabilities": None, "features": None}, "random", "no_model"),
        ({"features": None}, "margin", "no_features"),
        (
            {"probabilities": None, "labelled": ONE_CLASS},
            "typiclust",
            "one_class",
        ),
        ({"strategy": "entropy", "probabilities": None}, "typiclust", "no_model"),
        ({"strategy": "k_center", "features": None}, "random", "no_features"),
        ({"strategy": "entropy"}, "entropy", None),
        ({"strategy": "diverse_mini_batch", "features": None}, "random", "no_features"),
    ],
)
def test_what_runs(changes: dict[str, Any], strategy: str, reason: str | None) -> None:
    query = replace(WARM, **changes)
    chosen = plan(query)
    assert (chosen.strategy, chosen.fallback_reason) == (strategy, reason)
    assert chosen.fallback_from == (query.strategy if reason else None)


@pytest.mark.parametrize(
    ("changes", "selector"),
    [
        ({}, UncertaintyHerding),
        ({"labels_count": 39}, UncertaintyHerding),
        ({"labels_count": 40}, DiverseMiniBatch),  # ten per class: a class that never occurs must not prolong it
        ({"params": {"max_cold_labels": 12}}, DiverseMiniBatch),
        ({"classes": 1_000, "labels_count": 1_000}, DiverseMiniBatch),
    ],
)
def test_auto_covers_the_pool_while_labels_are_few(changes: dict[str, Any], selector: type) -> None:
    assert isinstance(plan(replace(WARM, **changes)).selector, selector)


@pytest.mark.parametrize(
    ("changes", "narrowed_to"),
    [
        ({}, 100),
        ({"params": {"oversampling": 3}}, 30),
        ({"candidates": np.arange(1_000) < 200}, 50),  # a quarter of a small pool
        ({"candidates": np.arange(1_000) < 30}, 10),
    ],
)
def test_auto_narrows_by_margin(changes: dict[str, Any], narrowed_to: int) -> None:
    chosen = plan(replace(WARM, labels_count=40, **changes))
    assert chosen.selector is not None
    narrowing = chosen.selector.narrowing(WARM.k)
    assert narrowing is not None
    assert narrowing.count == narrowed_to


@pytest.mark.parametrize(
    ("changes", "part"),
    [({}, "uncertainty_herding"), ({"labels_count": 40}, "diverse_mini_batch"), ({"strategy": "entropy"}, "entropy")],
)
def test_the_part_of_auto_that_is_at_work_is_named(changes: dict[str, Any], part: str) -> None:
    assert plan(replace(WARM, **changes)).ranked_by == part


def test_unknown_strategy() -> None:
    with pytest.raises(ValueError, match="no strategy called"):
        plan(replace(WARM, strategy="psychic"))
