import numpy as np
import pytest

from workers.learning.curve import Curve
from workers.learning.efficiency import areas, difference, holm, mean_curve, reach

FAST: Curve = [(20, 0.5), (40, 0.9), (60, 0.95), (80, 1.0)]
SLOW: Curve = [(20, 0.5), (40, 0.6), (60, 0.8), (80, 0.9), (160, 1.0)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_areas_end_at_the_budget_and_means_at_the_shortest_curve() -> None:
    assert areas([FAST, SLOW], 60).tolist() == pytest.approx([0.8125, 0.625])
    assert mean_curve([FAST, SLOW])[-1] == pytest.approx((80, 0.95))
    assert mean_curve([[(20, 0.0)], [(21, 1.0)]]) == [(20.5, 0.5)]


def test_holm_matches_a_worked_example() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, none below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_is_paired_and_its_interval_covers_the_mean() -> None:
    base = np.linspace(0.5, 0.9, 20)  # the seeds differ far more than the strategies
    told = difference(base + 0.01 + 0.001 * (np.arange(20) % 3), base, rng())
    assert told.mean == pytest.approx(0.0109, abs=1e-3)
    assert 0.01 < told.low < told.mean < told.high < 0.012
    assert told.p < 1e-6
    assert (told.wins, told.n) == (20, 20)
    noise = rng().normal(size=20)
    assert difference(base + 0.01 * (noise - noise.mean()), base, rng()).p > 0.9


def test_ties_and_single_seeds_prove_nothing() -> None:
    same = difference(np.full(4, 0.8), np.full(4, 0.8), rng())
    assert (same.p, same.wins, same.mean) == (1.0, 2.0, 0.0)
    assert difference(np.array([0.9]), np.array([0.8]), rng()).p == 1.0


def test_the_saving_is_that_of_the_mean_curves() -> None:
    told = reach([FAST, FAST], [SLOW, SLOW], [1.0, 1.0], 0.9, rng())
    assert (told.labels, told.baseline, told.saving) == (40, 80, 0.5)
    assert (told.low, told.high) == (0.5, 0.5)
    later = reach([SLOW, SLOW], [FAST, FAST], [1.0, 1.0], 0.9, rng())
    assert later.saving == -1.0


def test_who_gets_there_in_some_seeds_only_has_no_lower_bound() -> None:
    flat: Curve = [(labels, 0.5) for labels, _ in FAST]
    never = reach([flat, flat], [SLOW, SLOW], [1.0, 1.0], 0.9, rng())
    assert (never.labels, never.baseline, never.saving) == (None, 80, None)
    mixed = reach([flat, FAST, FAST], [SLOW, SLOW, SLOW], [1.0, 1.0, 1.0], 0.8, rng())
    assert mixed.saving is not None
    assert mixed.low is None
    assert mixed.high is not None
