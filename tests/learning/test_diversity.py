import numpy as np
import pytest

from tests.learning.pools import blobs
from tests.learning.selecting import request_of, select
from workers.learning.space import learn_space
from workers.learning.strategies import diversity
from workers.learning.strategies.diversity import KCenter
from workers.learning.strategies.geometry import squared_distances


def test_k_center_by_hand() -> None:
    # On a line, labelled at 0: farthest is 10, then 5 (5 from both), then 2 or 7 (2 away from a centre).
    X = np.array([[0], [2], [5], [7], [10]], dtype=np.float32)
    selection = select(KCenter(), X, 4, labelled=np.array([0]))
    positions = selection.positions.tolist()
    assert positions[:2] == [3, 1]  # rows 4 and 2 among the candidates [1, 2, 3, 4]
    assert sorted(positions[2:]) == [0, 2]
    np.testing.assert_allclose(selection.values / selection.values[0], [1, 0.5, 0.2, 0.2], atol=1e-5)


def test_k_center_without_labels_starts_in_the_middle() -> None:
    X = np.array([[0], [4], [5], [7], [10]], dtype=np.float32)
    selection = select(KCenter(), X, 2)
    assert selection.positions[0] == 2
    assert np.isnan(selection.values[0])
    assert selection.positions[1] in {0, 4}


def test_k_center_without_labels_starts_at_random_among_equally_central_rows() -> None:
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.float32)
    starts = {int(KCenter().select(request_of(corners, 1, seed=seed)).positions[0]) for seed in range(40)}
    assert starts == {0, 1, 2, 3}


def test_k_center_covers_as_well_as_the_rule_computed_naively() -> None:
    X, _ = blobs(120, 5, np.random.default_rng(1))
    labelled = np.arange(6)
    scaled = learn_space(X, 0).apply(X)
    distances = np.linalg.norm(scaled[:, np.newaxis] - scaled, axis=2)
    picked = labelled.tolist()
    for _ in range(15):
        picked.append(int(np.argmax(distances[:, picked].min(axis=1))))
    assert (select(KCenter(), X, 15, labelled).positions + 6).tolist() == picked[6:]


def test_k_center_with_more_labels_than_it_compares_with_uses_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = blobs(120, 5, np.random.default_rng(1))
    labelled = np.arange(60)
    whole = select(KCenter(), X, 5, labelled)
    monkeypatch.setattr(diversity, "_MOST_PAIRS", 60 * 20)
    some = select(KCenter(), X, 5, labelled)
    assert np.unique(some.positions).size == 5
    assert some.values[0] >= whole.values[0]


def test_squared_distances() -> None:
    X, centres = np.array([[0, 0], [3, 4]], dtype=np.float32), np.array([[3, 4]], dtype=np.float32)
    np.testing.assert_allclose(squared_distances(X, centres), [[25], [0]])
