from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tests.learning.pools import blobs, probabilities
from tests.learning.selecting import request_of
from workers.learning.matrices import ArrayReader, Matrix
from workers.learning.parallel import Parallel
from workers.learning.strategies import cluster_margin, drop_query
from workers.learning.strategies.base import Block
from workers.learning.strategies.cluster_margin import ClusterMargin, average_linkage
from workers.learning.strategies.drop_query import DropQuery
from workers.learning.strategies.hybrid import DiverseMiniBatch, InformationDensity
from workers.learning.strategies.ranked_batch import RankedBatch
from workers.learning.strategies.turns import places
from workers.learning.strategies.uncertainty import Entropy
from workers.learning.strategies.uncertainty_herding import (
    UncertaintyHerding,
    calibrated_temperature,
    surroundings,
    tempered,
)


def test_places_within_groups_follow_the_order() -> None:
    group = np.array([1, 0, 1, 1, 0])
    assert places(group, np.array([3, 4, 0, 1, 2])).tolist() == [1, 1, 2, 0, 0]


def test_diverse_mini_batch_spreads_the_batch_and_orders_by_score() -> None:
    X, y = blobs(60, 4, np.random.default_rng(4))
    scores = np.random.default_rng(5).random(60)
    selection = DiverseMiniBatch().select(request_of(X, 4, scores=scores))
    assert sorted(y[selection.positions]) == [0, 1, 2, 3]
    np.testing.assert_allclose(selection.values, np.sort(1 - scores[selection.positions]))
    assert selection.standby is not None
    np.testing.assert_array_equal(selection.standby, scores)


def test_cluster_margin_takes_turns_from_the_smallest_cluster() -> None:
    sizes = [7, 2, 4]
    y = np.repeat(np.arange(3), sizes)
    X = (20 * np.eye(3)[y] + np.random.default_rng(0).normal(size=(13, 3))).astype(np.float32)
    request = request_of(X, 8, scores=np.linspace(1, 0.5, 13))
    selection = ClusterMargin(clusters=3 / 8).select(request)
    # 2 < 4 < 7: twice in turn, then the smallest is used up.
    assert y[selection.positions].tolist() == [1, 2, 0, 1, 2, 0, 2, 0]
    np.testing.assert_allclose(selection.values, 1 - np.linspace(1, 0.5, 13)[selection.positions])
    again = ClusterMargin(clusters=3 / 8).select(replace(request, seed=1))
    assert again.positions.tolist() != selection.positions.tolist()


def test_candidates_that_are_not_linked_join_their_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_margin, "_LINKED", 40)
    monkeypatch.setattr(cluster_margin, "_BLOCK", 32)
    X, y = blobs(200, 4, np.random.default_rng(1))
    cluster = average_linkage(X, 4, 0)
    assert np.unique(np.column_stack([cluster, y]), axis=0).shape[0] == 4


def naive_density(X: NDArray[np.float64]) -> NDArray[np.float64]:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(((1 + unit @ unit.T) / 2).mean(axis=1))


def test_information_density_is_uncertainty_times_mean_likeness() -> None:
    rng = np.random.default_rng(2)
    X, P = rng.normal(size=(50, 5)) + 1, probabilities(50, 3, rng)
    block = Block(P=P, X=X.astype(np.float32))
    for beta in (0.0, 1.0, 3.0):
        scorer = InformationDensity(beta=beta).prepared(block.X)
        np.testing.assert_allclose(scorer.score(block), Entropy().score(block) * naive_density(X) ** beta, rtol=1e-5)


def test_information_density_of_rows_without_direction_is_finite() -> None:
    block = Block(P=probabilities(4, 3, np.random.default_rng(0)), X=np.zeros((4, 2), dtype=np.float32))
    np.testing.assert_allclose(InformationDensity().prepared(block.X).score(block), Entropy().score(block) / 2)


def test_ranked_batch_by_hand() -> None:
    # On a line, the label at 0. a = 3/4, then 2/4. Least confident: 0.4, 0.1, 0.5.
    X = np.array([[0], [1], [4], [3]], dtype=np.float32)
    P = np.array([[0.6, 0.4], [0.9, 0.1], [0.5, 0.5]], dtype=np.float32)
    request = request_of(X, 2, np.array([0]), scaled=False, P=P)
    selection = RankedBatch().select(request)
    # First: 3/4 x (1/2, 4/5, 3/4) + 1/4 u = .475, .625, .6875. Then 2/4 x (1/2, 1/2) + 2/4 u = .45, .3.
    assert selection.positions.tolist() == [2, 0]
    np.testing.assert_allclose(selection.values, [0.6875, 0.45], rtol=1e-6)


def test_ranked_batch_without_labels_starts_in_the_middle() -> None:
    X = np.array([[0], [1], [2], [3], [9]], dtype=np.float32)
    P = np.full((5, 2), 0.5, dtype=np.float32)
    assert RankedBatch().select(request_of(X, 2, P=P)).positions.tolist() == [3, 4]


def naive_herding(
    X: NDArray[np.float64], labelled: NDArray[np.float64], weights: NDArray[np.float64], radius: float, count: int
) -> list[int]:
    """The greatest gain in coverage, from the whole kernel matrix each time."""

    def kernel(to: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-((X[:, np.newaxis] - to) ** 2).sum(axis=2) / radius**2))

    cover, likeness, picks = kernel(labelled).max(axis=1, initial=0), kernel(X), list[int]()
    for _ in range(count):
        gains = (weights[:, np.newaxis] * np.maximum(likeness - cover[:, np.newaxis], 0)).sum(axis=0)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        cover = np.maximum(cover, likeness[:, picks[-1]])
    return picks


@pytest.mark.parametrize("labels", [0, 5])
@pytest.mark.parametrize("radius", [0.05, 0.7, 5.0])
def test_uncertainty_herding_is_the_greedy_coverage_by_definition(radius: float, labels: int) -> None:
    rng = np.random.default_rng(7)
    X, P = rng.normal(size=(60, 3)), probabilities(60, 3, rng)
    ordered = np.sort(P.astype(np.float64), axis=1)
    uncertainty = 1 - (ordered[:, -1] - ordered[:, -2])
    request = request_of(X, 10, np.arange(labels), scaled=False, P=P[labels:])
    selection = UncertaintyHerding(temperature=1.0, radius=radius).select(request)
    expected = naive_herding(X[labels:], X[:labels], uncertainty[labels:], radius, 10)
    assert selection.positions.tolist() == expected


def test_a_small_radius_leaves_plain_margin_and_a_high_temperature_plain_coverage() -> None:
    rng = np.random.default_rng(8)
    X, P = rng.normal(size=(60, 3)), probabilities(60, 3, rng)
    ordered = np.sort(P, axis=1)
    request = request_of(X, 10, scaled=False, P=P)
    narrow = UncertaintyHerding(temperature=1.0, radius=0.03).select(request)
    assert narrow.positions.tolist() == np.argsort(ordered[:, -1] - ordered[:, -2])[:10].tolist()
    hot = UncertaintyHerding(temperature=1e4, radius=1.0).select(request)
    assert hot.positions.tolist() == naive_herding(X, X[:0], np.ones(60), 1.0, 10)


def test_surroundings_of_labels() -> None:
    X = np.array([[0, 0], [0, 1], [5, 0], [5, 3]], dtype=np.float32)
    around = surroundings(X, np.array([0, 0, 1, 0]), 2)
    # Nearest others: 1, 0, 3, 2 at distances 1, 1, 3, 3; two of four agree.
    assert around.accuracy == pytest.approx(3 / 6)
    assert around.radius == pytest.approx(1.0)
    alone = surroundings(X[:1], np.array([0]), 4)
    assert alone.accuracy == pytest.approx(1 / 5)
    assert alone.radius == 1.0
    assert surroundings(np.ones((3, 2), dtype=np.float32), np.zeros(3, dtype=np.int64), 2).radius == 1.0


def test_temperature_brings_confidence_down_to_the_accuracy() -> None:
    P = probabilities(500, 4, np.random.default_rng(3))
    confidence = float(P.max(axis=1).mean())
    assert calibrated_temperature(P, confidence + 0.01) == 1.0
    temperature = calibrated_temperature(P, 0.4)
    assert tempered(P, temperature).max(axis=1).mean() == pytest.approx(0.4, abs=1e-3)
    assert calibrated_temperature(P, 0.1) == 20.0  # below chance: as hot as can be
    np.testing.assert_allclose(tempered(P, 1.0), P, rtol=1e-4)


def test_uncertainty_herding_adapts_to_the_labels() -> None:
    rng = np.random.default_rng(9)
    X = rng.normal(size=(80, 3)).astype(np.float32)
    P = tempered(probabilities(80, 3, rng), 0.2)  # far too sure
    codes = np.arange(20) % 3
    request = request_of(X, 10, np.arange(20), P=P[20:], labelled_y=codes)
    around = surroundings(request.labelled_X, codes, 3)
    temperature = calibrated_temperature(P[20:], around.accuracy)
    assert temperature > 1.5
    explicit = UncertaintyHerding(temperature=temperature, radius=around.radius).select(request)
    adapted = UncertaintyHerding(temperature=None).select(request)
    assert adapted.positions.tolist() == explicit.positions.tolist()
    assert adapted.positions.tolist() != UncertaintyHerding().select(request).positions.tolist()


class _Sign:
    """Class 1 where the mean of the columns is above zero."""

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        P = 1 / (1 + np.exp(-np.asarray(X.mean(axis=1), dtype=np.float64)))
        return np.column_stack([1 - P, P]).astype(np.float32)


def fickle_pool() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows [90, 8] of which the first 60 have parts that cancel out, and what `_Sign` says of all."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 8)).astype(np.float32)
    X -= X.mean(axis=0)
    X[:60] -= 0.99 * X[:60].mean(axis=1, keepdims=True)
    X[60:] = np.where(rng.random((30, 1)) < 0.5, -1, 1) * (3 + rng.random((30, 8)))
    return X, _Sign().predictions(X)


@pytest.mark.parametrize("convert", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_drop_query_picks_what_changes_its_class(convert: type) -> None:
    X, P = fickle_pool()
    request = request_of(X, 15, P=P, model=_Sign(), features=ArrayReader(convert(X)))
    selection = DropQuery(dropout=0.5, passes=5).select(request)
    assert np.unique(selection.positions).size == 15
    assert (selection.positions < 60).all()
    assert (selection.values > 0.5).all()
    assert selection.standby is not None
    assert selection.standby[:60].mean() > selection.standby[60:].max()


def test_drop_query_fills_up_with_the_least_certain() -> None:
    X, P = fickle_pool()
    selection = DropQuery(dropout=0.5).select(request_of(X[60:], 10, P=P[60:], model=_Sign()))
    np.testing.assert_array_equal(np.sort(selection.positions), np.sort(np.argsort(P[60:].max(axis=1))[:10]))


def test_drop_query_is_the_same_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_query, "_NUMBERS_AT_ONCE", 8 * 16)
    X, P = fickle_pool()
    request = request_of(X, 15, P=P, model=_Sign())
    alone, shared = (
        DropQuery().select(replace(request, parallel=parallel)).positions
        for parallel in (Parallel(), Parallel("threads", 2))
    )
    np.testing.assert_array_equal(alone, shared)
