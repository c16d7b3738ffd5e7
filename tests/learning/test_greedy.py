from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.learning.parallel import Parallel
from workers.learning.strategies import geometry, greedy
from workers.learning.strategies.greedy import Ball, Gaussian, Kernel, Measure, SquaredDistance, farthest_first, herd
from workers.learning.ties import tie_keys

ROWS = 600


def rows_of(kind: str) -> NDArray[np.float32]:
    """Rows [600, 5]: one cloud, or six tight clusters."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(ROWS, 5))
    if kind == "clusters":
        X = 4 * rng.normal(size=(6, 5))[np.arange(ROWS) % 6] + 0.2 * X
    return X.astype(np.float32)


def ties(rows: int = ROWS, seed: int = 0) -> NDArray[np.uint64]:
    return tie_keys(np.arange(rows), seed)


@dataclass(frozen=True)
class Weighed:
    """A measure that weighs candidates and stages, as ranked batches do."""

    weights: NDArray[np.float32]

    def share(self, picked: int) -> float:
        return 0.9 - 0.02 * picked

    def __call__(
        self, squares: NDArray[np.float32], positions: NDArray[np.intp] | slice, picked: int
    ) -> NDArray[np.float32]:
        far = 1 - 1 / (1 + np.sqrt(squares))
        share = np.float32(self.share(picked))
        figures: NDArray[np.float32] = share * far + (1 - share) * self.weights[positions]
        return figures

    def ceiling(self, figure: float, before: int, picked: int) -> float:
        ratio = self.share(picked) / self.share(before)
        return ratio * figure + (1 - ratio) * float(self.weights.max())


def naive_farthest(X: NDArray[np.float32], centres: NDArray[np.float32], count: int, measure: Measure) -> list[int]:
    points = np.concatenate([X, centres]).astype(np.float64)
    squares = np.square(points[:, np.newaxis] - points).sum(axis=2)[: X.shape[0]]
    chosen = list(range(X.shape[0], points.shape[0]))
    picks: list[int] = []
    for step in range(count):
        figures = measure(squares[:, chosen].min(axis=1).astype(np.float32), slice(None), step)
        figures[picks] = -1
        picks.append(int(np.argmax(figures)))
        chosen.append(picks[-1])
    return picks


@pytest.mark.parametrize("kind", ["cloud", "clusters"])
@pytest.mark.parametrize("stages", [False, True])
@pytest.mark.parametrize("working_set", [1, 20, 4_096])
def test_farthest_first_is_the_naive_rule(
    kind: str, *, stages: bool, working_set: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy, "_LEAST_WORKING_SET", working_set)
    monkeypatch.setattr(geometry, "_ROWS_A_TASK", 100)
    X, weights = rows_of(kind), np.random.default_rng(5).random(ROWS).astype(np.float32)
    measure = Weighed(weights[10:]) if stages else SquaredDistance()
    found = farthest_first(
        X[10:], X[:10], count=40, ties=ties(ROWS - 10), measure=measure, parallel=Parallel("threads", 2)
    )
    assert found.positions.tolist() == naive_farthest(X[10:], X[:10], 40, measure)


def test_farthest_first_takes_the_given_start_first() -> None:
    X = rows_of("cloud")
    found = farthest_first(X, X[:0], count=30, ties=ties(), start=7)
    assert found.positions[0] == 7
    assert np.isnan(found.values[0])
    assert found.positions[1:].tolist() == naive_farthest(X, X[7:8], 29, SquaredDistance())


def test_farthest_first_can_take_every_candidate_of_a_grid_full_of_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "_LEAST_WORKING_SET", 5)
    X = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2).astype(np.float32)
    orders = [farthest_first(X, X[:1], count=36, ties=ties(36, seed)).positions for seed in range(2)]
    assert all(sorted(order) == list(range(36)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()


def test_farthest_first_standby_is_the_distance_after_all_picks() -> None:
    X = rows_of("clusters")
    found = farthest_first(X, X[:3], count=20, ties=ties())
    centres = np.concatenate([X[:3], X[found.positions]])
    squares = np.square(X[:, np.newaxis] - centres).sum(axis=2).min(axis=1)
    assert found.standby is not None
    np.testing.assert_allclose(found.standby, squares, atol=1e-6 * np.square(X).sum(axis=1).max())


def naive_herd(likeness: NDArray[np.float32], cover: NDArray[np.float32], weights: NDArray[np.float64]) -> list[int]:
    """Twenty picks by the whole matrix of `likeness` [n, m], the smallest tie of equal gains."""
    picks: list[int] = []
    for _ in range(20):
        gains = np.maximum(likeness - cover, 0) @ weights
        gains[picks] = -1
        equal = np.flatnonzero(gains >= gains.max() * (1 - 1e-5))
        picks.append(int(equal[np.argmin(ties()[equal])]))
        cover = np.maximum(cover, likeness[picks[-1]])
    return picks


@pytest.mark.parametrize("kernel", [Gaussian(0.4), Gaussian(2.0), Ball(1.1)])
@pytest.mark.parametrize("kind", ["cloud", "clusters"])
def test_herding_is_the_naive_rule(kernel: Kernel, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(greedy, "_ROWS_A_TASK", 70)
    X, weights = rows_of(kind), np.random.default_rng(6).random(300)
    reference, centres = X[::2], X[1:4]
    likeness = kernel(np.square(X[:, np.newaxis] - reference).sum(axis=2))
    cover = kernel(np.square(reference[:, np.newaxis] - centres).sum(axis=2)).max(axis=1)
    found = herd(
        X,
        reference,
        kernel=kernel,
        count=20,
        ties=ties(),
        weights=weights,
        centres=centres,
        parallel=Parallel("threads", 2),
    )
    assert found.positions.tolist() == naive_herd(likeness, cover, weights)
    covered = np.maximum(cover, likeness[found.positions].max(axis=0))
    np.testing.assert_allclose(found.values.sum(), (covered - cover) @ weights / weights.sum(), rtol=1e-4)


def test_herding_goes_on_when_everything_is_covered() -> None:
    X = rows_of("clusters")
    orders = [herd(X, X, kernel=Ball(100), count=50, ties=ties(seed=seed)).positions for seed in range(2)]
    assert all(np.unique(order).size == 50 for order in orders)
    assert orders[0].tolist() != orders[1].tolist()
