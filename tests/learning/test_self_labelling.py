import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from workers.learning.self_labelling import certify, clopper_pearson, fewest_rows

RNG = np.random.default_rng(0)


def draw(rng: np.random.Generator, count: int, *, knee: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores, uniform in [0, 1], and whether they are right: always above the knee, by a coin below."""
    scores = rng.random(count)
    return scores, (scores > knee) | (rng.random(count) < 0.5)


def precision_above(threshold: float, *, knee: float) -> float:
    """Of what `draw` gives, in the long run."""
    below = max(0.0, knee - threshold)
    return 1.0 - 0.5 * below / (1.0 - threshold)


@pytest.mark.parametrize(
    ("target", "level", "rows"), [(0.99, 0.95, 299), (0.9, 0.9, 22), (0.5, 0.5, 1), (0.95, 0.95, 59)]
)
def test_the_fewest_rows_are_those_that_are_all_right(target: float, level: float, rows: int) -> None:
    assert fewest_rows(target, level) == rows
    assert target**rows <= 1 - level + 1e-12
    assert target ** (rows - 1) > 1 - level - 1e-12


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (299, 299), (990, 1000)])
def test_bounds_are_those_of_another_implementation(right: int, n: int) -> None:
    low, high = clopper_pearson(right, n, 0.025)
    exact = binomtest(right, n).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high))


def test_a_hand_computed_case() -> None:
    """22 of 22 right are just enough for 90 % at 90 %, 21 are not."""
    pool = np.linspace(0, 1, 100)
    scores, right = np.full(22, 2.0), np.ones(22, dtype=bool)
    found = certify(scores, right, pool, target=0.9, level=0.9)
    assert found is not None
    assert (found.threshold, found.right, found.n, found.high) == (0.0, 22, 22, 1.0)
    assert found.low == pytest.approx(0.1 ** (1 / 22))
    assert certify(scores[1:], right[1:], pool, target=0.9, level=0.9) is None
    right[0] = False
    assert certify(scores, right, pool, target=0.9, level=0.9) is None


def test_it_stops_where_the_precision_is_lost() -> None:
    scores, right = draw(RNG, 4000, knee=0.6)
    found = certify(scores, right, RNG.random(5000), target=0.95, level=0.95)
    assert found is not None
    # 95 % are right above 0.5558 in the long run
    assert 0.55 < found.threshold < 0.62
    assert found.low >= 0.95
    assert binom.sf(found.right - 1, found.n, 0.95) <= 0.05


def test_the_chance_of_a_wrong_threshold_is_bounded() -> None:
    """Of 600 runs on labels of their own, at most a tenth (and what chance may add) choose a threshold too low."""
    wrong = none = 0
    for run in range(600):
        rng = np.random.default_rng(run)
        scores, right = draw(rng, 400, knee=0.7)
        found = certify(scores, right, rng.random(500), target=0.9, level=0.9)
        none += found is None
        wrong += found is not None and precision_above(found.threshold, knee=0.7) < 0.9
    assert wrong <= binom.ppf(0.999, 600, 0.1)
    assert none < 60, "it is of some use, too"


def test_a_model_that_is_never_sure_certifies_nothing() -> None:
    scores = RNG.random(3000)
    assert certify(scores, RNG.random(3000) < 0.8, RNG.random(1000), target=0.95, level=0.95) is None


@pytest.mark.parametrize("pool", [np.empty(0), np.full(7, 0.5)])
def test_small_and_tied_pools(pool: NDArray[np.float64]) -> None:
    found = certify(np.full(500, 0.5), np.ones(500, dtype=bool), pool, target=0.9, level=0.9)
    assert (found is None) == (pool.size == 0)
    if found is not None:
        assert (found.threshold, found.n) == (0.5, 500)
