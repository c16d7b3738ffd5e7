"""Strategies for numbers, by hand and against the rules as written."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, SelectionRequest
from workers.learning.strategies.regression import (
    ExpectedModelChange,
    GreedyBoth,
    GreedyInput,
    GreedyOutput,
    LargestCluster,
    PredictiveDeviation,
)


def points(seed: int, *, candidates: int = 60, labels: int = 8) -> SelectionRequest:
    rng = np.random.default_rng(seed)
    return SelectionRequest(
        rows=np.arange(candidates),
        count=10,
        classes=0,
        seed=seed,
        X=rng.normal(size=(candidates, 3)).astype(np.float32),
        P=np.column_stack([rng.normal(size=candidates), np.ones(candidates)]).astype(np.float32),
        labelled_X=rng.normal(size=(labels, 3)).astype(np.float32),
        labelled_y=rng.normal(size=labels),
    )


def as_written(request: SelectionRequest, kind: str) -> list[int]:
    """Wu et al. 2019, algorithms 2 to 4: the candidate whose least figure over all known ones is greatest."""
    known = list(zip(request.labelled_X.astype(float), request.labelled_y, strict=True))
    picked: list[int] = []
    for _ in range(request.count):

        def least(i: int) -> float:
            figures = []
            for x, y in known:
                dx = float(np.linalg.norm(request.X[i] - x))
                dy = abs(float(request.P[i, 0]) - float(y))
                figures.append({"x": dx, "y": dy, "xy": dx * dy}[kind])
            return min(figures)

        best = max((i for i in range(len(request.X)) if i not in picked), key=least)
        picked.append(best)
        known.append((request.X[best].astype(float), float(request.P[best, 0])))
    return picked


@pytest.mark.parametrize(("selector", "kind"), [(GreedyInput(), "x"), (GreedyOutput(), "y"), (GreedyBoth(), "xy")])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_sampling_picks_as_the_paper_says(selector: Any, kind: str, seed: int) -> None:
    request = points(seed)
    assert selector.select(request).positions.tolist() == as_written(request, kind)


def lcmd_as_written(X: NDArray[np.float64], centres: NDArray[np.float64], count: int) -> list[int]:
    """Holzmueller et al. 2023, section 4.6."""
    chosen = list(centres)
    picked: list[int] = []
    for _ in range(count):
        squares = np.array([[np.sum((x - c) ** 2) for c in chosen] for x in X])
        squares[picked] = 0
        nearest, distance = squares.argmin(axis=1), squares.min(axis=1)
        sums = [distance[nearest == c].sum() for c in range(len(chosen))]
        inside = np.where(nearest == int(np.argmax(sums)), distance, -1)
        picked.append(int(np.argmax(inside)))
        chosen.append(X[picked[-1]])
    return picked


@pytest.mark.parametrize("seed", range(5))
def test_lcmd_picks_as_the_paper_says(seed: int) -> None:
    request = points(seed)
    expected = lcmd_as_written(request.X.astype(float), request.labelled_X.astype(float), request.count)
    assert LargestCluster().select(request).positions.tolist() == expected


def test_lcmd_starts_without_labels_and_ends_with_everything() -> None:
    request = points(0, candidates=7)
    none = np.empty((0, 3), dtype=np.float32)
    alone = SelectionRequest(rows=request.rows, count=7, classes=0, seed=0, X=request.X, labelled_X=none)
    assert sorted(LargestCluster().select(alone).positions.tolist()) == list(range(7))


def test_scores_of_spreads_keep_their_order_and_give_them_back() -> None:
    spreads = np.array([0.0, 1e-30, 1e-6, 1.0, 1.00001, 3e4, 1e30], dtype=np.float32)
    block = Block(P=np.column_stack([np.zeros(7, dtype=np.float32), spreads]))
    scores = PredictiveDeviation().score(block)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores[[0, 1, 2, 3, 5, 6]]) > 0).all()
    np.testing.assert_allclose(PredictiveDeviation().value(scores[1:].astype(float)), spreads[1:], rtol=2e-4)


def test_the_expected_change_of_a_model_by_hand() -> None:
    block = Block(P=np.array([[0, 2.0], [0, 1.0]], dtype=np.float32), X=np.array([[0, 0], [2, 2]], dtype=np.float32))
    scorer = ExpectedModelChange()
    # 2 x |(0, 0, 1)| and 1 x |(2, 2, 1)|
    np.testing.assert_allclose(scorer.value(scorer.score(block).astype(float)), [2.0, 3.0], rtol=2e-4)
