import pytest

from workers.learning.curve import Saving, area_under, labels_to_reach, saving

FAST = [(20, 0.5), (40, 0.9), (60, 0.95)]
SLOW = [(20, 0.5), (40, 0.7), (60, 0.8), (80, 0.9), (100, 0.91)]


def test_labels_to_reach() -> None:
    assert labels_to_reach(FAST, 0.9) == 40
    assert labels_to_reach(FAST, 0.91) == 60
    assert labels_to_reach(FAST, 0.96) is None


@pytest.mark.parametrize(
    ("curve", "baseline", "target", "expected", "text"),
    [
        (FAST, SLOW, 0.9, Saving(0.5, at_least=False), "50 %"),
        (FAST, SLOW, 0.95, Saving(0.4, at_least=True), "≥ 40 %"),
        (SLOW, FAST, 0.9, Saving(-1.0, at_least=False), "-100 %"),
    ],
)
def test_saving(
    curve: list[tuple[int, float]], baseline: list[tuple[int, float]], target: float, expected: Saving, text: str
) -> None:
    result = saving(curve, baseline, target)
    assert result is not None
    assert result.share == pytest.approx(expected.share)
    assert result.at_least == expected.at_least
    assert str(result) == text


def test_no_saving_to_speak_of_before_the_target_is_reached() -> None:
    assert saving(FAST, SLOW, 0.99) is None


def test_area_under() -> None:
    assert area_under(FAST) == pytest.approx((20 * 0.7 + 20 * 0.925) / 40)
