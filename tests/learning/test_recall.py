from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from workers.learning.recall import Counted, Range, estimate_recall


def test_by_hand() -> None:
    """Of ten, five are drawn and none is positive: 3 positives leave that a chance of C(7, 5) / C(10, 5) = 1 / 12."""
    found = estimate_recall(Counted(pool=10, unlabelled=4, found=1, drawn=5, positives=0))
    assert found is not None
    assert comb(7, 5) / comb(10, 5) == pytest.approx(1 / 12)  # over 5 %; with 4 it is under 2.5 %
    assert comb(6, 5) / comb(10, 5) == pytest.approx(1 / 42)
    assert found.recall == Range(1.0, 1 / 3, 1.0)
    assert found.remaining == Range(0.0, 0.0, 2.0)
    assert found.at_least == 1 / 3


def test_everything_labelled_is_everything_found() -> None:
    found = estimate_recall(Counted(pool=50, unlabelled=0, found=7, drawn=10, positives=1))
    assert found is not None
    assert (found.recall, found.at_least) == (Range(1.0, 1.0, 1.0), 1.0)
    assert estimate_recall(Counted(pool=50, unlabelled=40, found=7, drawn=0, positives=0)) is None
    nothing = estimate_recall(Counted(pool=1_000, unlabelled=900, found=0, drawn=100, positives=0))
    assert nothing is not None
    assert nothing.recall == Range(1.0, 0.0, 1.0)


@pytest.mark.parametrize("total", [30, 120])
def test_intervals_hold_as_often_as_they_say(total: int) -> None:
    rng = np.random.default_rng(0)
    pool, drawn, recall = 1_000, 150, 0.8
    held = bounded = 0
    for positives in hypergeom.rvs(pool, total, drawn, size=400, random_state=rng).tolist():
        found = round(recall * total)
        made = estimate_recall(Counted(pool, pool - 400, found, drawn, positives))
        assert made is not None
        held += made.recall.low <= recall <= made.recall.high
        bounded += made.at_least <= recall
    assert held >= 0.95 * 400 - 13  # three deviations
    assert bounded >= 0.95 * 400 - 13
