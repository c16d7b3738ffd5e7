"""Expected calibration error against figures by hand, and its interval against the truth."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from workers.learning.calibration import expected_calibration_error


def two_classes(confidence: Any, right: Any) -> tuple[Any, Any]:
    """Probabilities that predict class 1 with this confidence, and labels that make it right or wrong."""
    confidence = np.asarray(confidence, dtype=np.float32)
    return np.column_stack([1 - confidence, confidence]), np.asarray(right).astype(np.int64)


def test_by_hand() -> None:
    # Two bins of ten rows: 0.6 sure and right 4 times of 10; 0.9 sure and right 9 times of 10.
    P, y = two_classes([0.6] * 10 + [0.9] * 10, [1] * 4 + [0] * 6 + [1] * 9 + [0])
    value, low, high = expected_calibration_error(P, y, np.random.default_rng(0))
    assert value == pytest.approx(0.5 * abs(0.6 - 0.4) + 0.5 * abs(0.9 - 0.9), abs=1e-6)
    assert 0 <= low <= value <= high <= 1


def test_bins_have_equal_mass_not_equal_width() -> None:
    # Of 30 rows the third bin is 0.95 to 0.99, though bins of equal width would put all 20 above 0.9 together.
    confidence = np.concatenate([np.full(10, 0.55), np.full(10, 0.92), np.linspace(0.95, 0.99, 10)])
    right = np.array([1] * 5 + [0] * 5 + [1] * 7 + [0] * 3 + [1] * 10)
    P, y = two_classes(confidence, right)
    value, _, _ = expected_calibration_error(P, y, np.random.default_rng(0))
    assert value == pytest.approx((0.05 + 0.22 + 0.03) / 3, abs=1e-6)


def test_equal_confidences_are_one_bin_in_any_order() -> None:
    rng = np.random.default_rng(1)
    P, y = two_classes(np.full(200, 0.8), np.arange(200) < 100)
    shuffled = rng.permutation(200)
    for order in (np.arange(200), shuffled):
        value, _, _ = expected_calibration_error(P[order], y[order], rng)
        assert value == pytest.approx(0.3, abs=1e-6)


def test_as_written_out_for_random_rows() -> None:
    rng = np.random.default_rng(2)
    P = rng.dirichlet(np.ones(4), size=457).astype(np.float32)
    y = rng.integers(0, 4, 457)
    order = np.argsort(P.max(axis=1), kind="stable")
    edges = [-(-bin_ * 457 // 15) for bin_ in range(16)]
    expected = 0.0
    for start, stop in pairwise(edges):
        rows = order[start:stop]
        confidence, accuracy = P[rows].max(axis=1).mean(), np.mean(P[rows].argmax(axis=1) == y[rows])
        expected += rows.size / 457 * abs(float(confidence) - float(accuracy))
    assert expected_calibration_error(P, y, rng)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rows", [60, 400])
def test_the_interval_of_a_calibrated_model_nearly_reaches_zero(rows: int) -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        confidence = rng.uniform(0.5, 1, rows)
        found.append(expected_calibration_error(*two_classes(confidence, rng.random(rows) < confidence), rng))
    values, lows, _ = np.array(found).T
    assert lows.mean() < 0.2 * values.mean()  # percentiles would not even reach below the values


def test_the_interval_covers_the_error_of_a_model_that_is_too_sure() -> None:
    rng = np.random.default_rng(4)

    def draw(rows: int) -> tuple[float, float, float]:
        confidence = rng.uniform(0.6, 1, rows)
        return expected_calibration_error(*two_classes(confidence, rng.random(rows) < confidence - 0.2), rng)

    truth = draw(200_000)[0]
    assert truth == pytest.approx(0.2, abs=0.01)
    covered = sum(low <= truth <= high for _, low, high in (draw(300) for _ in range(60)))
    assert covered >= 51  # 95 % of 60 is 57; 51 or fewer has a chance below 0.1 %


def test_one_row() -> None:
    P, y = two_classes([0.7], [1])
    value, low, high = expected_calibration_error(P, y, np.random.default_rng(0))
    assert value == pytest.approx(0.3)
    assert low == pytest.approx(0.3)
    assert high == pytest.approx(0.3)
