import numpy as np
import pytest

from workers.learning.forecast import Curve, Forecast, forecast

SIZES = np.array([20.0, 40, 60, 80, 100, 120, 140])


def curve_of(values: object, deviation: float = 0.0) -> Curve:
    told = np.asarray(values, dtype=float)
    return Curve(SIZES[: told.size], told, np.full(told.size, deviation))


def test_a_curve_without_noise_is_continued() -> None:
    """0.95 - n^-0.5 is 0.9 at n = 400."""
    found = forecast(curve_of(0.95 - SIZES**-0.5), 0.9, np.random.default_rng(0))
    assert (found.labels, found.low, found.high) == pytest.approx((400, 400, 400))


def test_noise_widens_the_interval_which_holds_the_truth() -> None:
    rng = np.random.default_rng(1)
    held, widths = 0, []
    for _ in range(60):
        noisy = 0.95 - SIZES**-0.5 + 0.004 * rng.normal(size=SIZES.size)
        found = forecast(curve_of(noisy, 0.004), 0.85, rng)  # the law gets there at 100
        if found.labels is None:
            continue
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 100 <= found.high
        widths.append(found.high - found.low)
    assert held >= 51
    assert np.median(widths) > 5


@pytest.mark.parametrize(
    ("curve", "target", "reason"),
    [
        (curve_of([0.5, 0.6, 0.7, 0.75]), 0.9, "too_few_points"),
        (curve_of(np.full(7, 0.8), 0.02), 0.9, "flat"),
        (curve_of(0.9 - SIZES / 1_000), 0.95, "flat"),  # it falls
        (curve_of(0.8 - SIZES**-0.5), 0.9, "unreachable"),
        (curve_of(0.95 - SIZES**-0.05 / 2), 0.949, "unreachable"),  # after more labels than there are in the world
    ],
)
def test_where_nobody_can_tell_there_is_a_reason(curve: Curve, target: float, reason: str) -> None:
    assert forecast(curve, target, np.random.default_rng(0)) == Forecast(None, reason=reason)  # type: ignore[arg-type]


def test_no_law_promises_more_than_everything() -> None:
    rising = curve_of(np.linspace(0.5, 0.98, 7))
    assert forecast(rising, 1.0, np.random.default_rng(0)).reason == "unreachable"
    assert forecast(rising, 0.985, np.random.default_rng(0)).labels is not None
