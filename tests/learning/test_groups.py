from collections import Counter

import numpy as np
import pytest

from workers.learning.groups import best_of_group, draw, first_of_group, in_groups_of, one_of_each

GROUPS = np.array([7, 7, 7, 1, 2, 2])


def test_first_and_best_by_hand() -> None:
    assert first_of_group(GROUPS).tolist() == [True, False, False, True, True, False]
    figures = np.array([0.1, 0.5, 0.5, -1.0, 0.0, -0.1])
    assert best_of_group(GROUPS, figures).tolist() == [False, True, True, True, True, False]
    assert best_of_group(GROUPS[:0], figures[:0]).size == 0


def test_rows_share_groups_with_others() -> None:
    assert in_groups_of(GROUPS, np.array([0, 3, 5]), np.array([1, 4])).tolist() == [True, False, True]
    assert not in_groups_of(None, np.array([0, 3]), np.array([0])).any()
    assert not in_groups_of(GROUPS, np.array([0, 3]), np.array([], dtype=np.int64)).any()


def test_of_each_group_one_is_drawn_uniformly() -> None:
    rows = np.arange(6)
    drawn = [one_of_each(rows, GROUPS, seed).tolist() for seed in range(600)]
    assert all(GROUPS[rows].tolist() == [7, 1, 2] for rows in drawn)
    firsts = Counter(rows[0] for rows in drawn)
    assert all(150 < firsts[row] < 250 for row in (0, 1, 2))
    assert one_of_each(rows, None, 0) is rows


def test_a_draw_is_as_probable_as_it_says() -> None:
    rows, drawn = np.arange(6), Counter[int]()
    for seed in range(3_000):
        found = draw(rows, GROUPS, 2, seed)
        assert np.unique(GROUPS[found.rows]).size == 2
        drawn.update(found.rows.tolist())
    told = {0: 2 / 9, 1: 2 / 9, 2: 2 / 9, 3: 2 / 3, 4: 1 / 3, 5: 1 / 3}
    assert {row: count / 3_000 for row, count in drawn.items()} == pytest.approx(told, abs=0.04)
    everything = draw(rows, GROUPS, 9, 0)
    assert sorted(GROUPS[everything.rows]) == [1, 2, 7]
    sizes = np.array([np.count_nonzero(group == GROUPS) for group in GROUPS[everything.rows]])
    np.testing.assert_allclose(everything.propensities * sizes, 1)
    alone = draw(rows, None, 3, 5)
    assert alone.propensities.tolist() == [0.5, 0.5, 0.5]
    assert alone.propensities_of(np.sort(alone.rows)).tolist() == [0.5, 0.5, 0.5]
    assert draw(rows, GROUPS, 0, 0).rows.size == 0
