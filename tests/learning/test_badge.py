from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from tests.learning.pools import probabilities
from tests.learning.selecting import request_of
from workers.learning.parallel import Parallel
from workers.learning.strategies import badge
from workers.learning.strategies.badge import Badge, Gradients


def embeddings(X: NDArray[np.float32], P: NDArray[np.float32]) -> NDArray[np.float64]:
    """Gradients of the log loss by the weights and intercepts of a softmax layer, written out [n, C (d + 1)]."""
    wide = np.hstack([X, np.ones((X.shape[0], 1))])
    a = P - np.eye(P.shape[1])[P.argmax(axis=1)]
    written: NDArray[np.float64] = np.einsum("ic,id->icd", a, wide).reshape(X.shape[0], -1)
    return written


def pool(rows: int, classes: int, columns: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, columns)).astype(np.float32), probabilities(rows, classes, rng)


@pytest.mark.parametrize("classes", [2, 5, 1_000])
def test_distances_are_those_of_the_embeddings_written_out(classes: int) -> None:
    X, P = pool(30, classes)
    written = embeddings(X, P)
    gradients = Gradients(X, P)
    lengths = gradients.squared_lengths()
    np.testing.assert_allclose(lengths, (written**2).sum(axis=1), rtol=1e-5)
    centres = np.array([4, 17, 29])
    expected = ((written[centres][:, np.newaxis] - written) ** 2).sum(axis=2)
    np.testing.assert_allclose(gradients.squared_distances(slice(0, 30), centres, lengths), expected, atol=2e-5)


@pytest.mark.parametrize("at_once", [1, 64])
def test_draws_are_distributed_as_by_plain_k_means_plus_plus(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # One draw at a time makes it bring all distances up to date whenever a draw is rejected.
    monkeypatch.setattr(badge, "_DRAWS_AT_ONCE", at_once)
    X, P = pool(6, 3)
    written = embeddings(X, P)
    squares = ((written[:, np.newaxis] - written) ** 2).sum(axis=2)
    first = int((written**2).sum(axis=1).argmax())
    expected = {}
    for second, third in permutations(set(range(6)) - {first}, 2):
        nearest = np.minimum(squares[first], squares[second])
        chance = squares[first, second] / squares[first].sum() * nearest[third] / nearest.sum()
        expected[first, second, third] = float(chance)
    request = request_of(X, 3, scaled=False, P=P)
    seen = dict.fromkeys(expected, 0)
    seeds = 3_000
    for seed in range(seeds):
        seen[tuple(Badge().select(request_of(X, 3, scaled=False, P=P, seed=seed)).positions.tolist())] += 1
    assert request.rows.size == 6
    assert chisquare(list(seen.values()), np.array(list(expected.values())) * seeds).pvalue > 1e-3


def test_values_are_the_distances_to_the_picks_before() -> None:
    X, P = pool(200, 4)
    written = embeddings(X, P)
    selection = Badge().select(request_of(X, 60, scaled=False, P=P))
    picked = written[selection.positions]
    distances = np.sqrt(((picked[:, np.newaxis] - picked) ** 2).sum(axis=2))
    nearest = [np.linalg.norm(picked[0]), *(distances[i, :i].min() for i in range(1, 60))]
    np.testing.assert_allclose(selection.values, nearest, atol=1e-3)
    assert selection.standby is not None
    to_picks = ((written[:, np.newaxis] - picked) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(selection.standby, to_picks, atol=1e-4)


def test_same_picks_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badge, "_ROWS_AT_ONCE", 64)
    monkeypatch.setattr(badge, "_BLOCK", 32)
    X, P = pool(500, 3)
    alone, shared = (
        Badge().select(request_of(X, 40, P=P, parallel=parallel)).positions
        for parallel in (Parallel(), Parallel("threads", 2))
    )
    np.testing.assert_array_equal(alone, shared)


def test_rows_without_gradient_come_last_in_random_order() -> None:
    X, P = pool(20, 3)
    P[5:] = [0, 1, 0]  # certain: the embedding is zero
    rest = [Badge().select(request_of(X, 20, P=P, seed=seed)).positions.tolist() for seed in (1, 2)]
    for positions in rest:
        assert sorted(positions) == list(range(20))
        assert set(positions[:5]) < {0, 1, 2, 3, 4, *range(5, 20)}
        assert len(set(positions[:6]) & set(range(5, 20))) == 1  # one stands for all of them
    assert rest[0][6:] != rest[1][6:]
