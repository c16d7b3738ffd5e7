from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.learning.priorities import Stage, never_rising, stages


def told(stage: Stage) -> tuple[list[int], int, int, bool]:
    return stage.rows.tolist(), stage.batch, stage.reserve, stage.whole


def test_stages_by_hand() -> None:
    rows, priorities = np.arange(10, 19), np.array([0.0, 5, 0, 9, 1, 1, 1, 0, -2])
    found = list(stages(rows, priorities, None, batch=3, reserve=5))
    assert [told(stage) for stage in found] == [
        ([11, 13], 2, 0, True),  # 9 and 5 are in the batch
        ([14, 15, 16], 1, 2, False),  # of the ones there are more than fit
        ([10, 12, 17], 0, 3, True),
    ]
    assert [told(stage) for stage in stages(rows, priorities, None, batch=2, reserve=2)] == [
        ([11, 13], 2, 0, True),
        ([14, 15, 16], 0, 2, False),
    ]


def test_a_group_has_the_priority_of_its_highest_and_counts_once() -> None:
    priorities = np.array([5.0, 0, 5, 0, 0])
    groups = np.array([1, 1, 1, 2, 2])
    found = list(stages(np.arange(5), priorities, groups, batch=2, reserve=4))
    assert [told(stage) for stage in found] == [([0, 2, 3, 4], 2, 0, True)]


@given(
    levels=st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 9)), max_size=40),
    batch=st.integers(0, 15),
    reserve=st.integers(0, 15),
    grouped=st.booleans(),
)
def test_stages_hold_what_is_needed_and_no_more(
    levels: list[tuple[int, int]], batch: int, reserve: int, *, grouped: bool
) -> None:
    priorities = np.array([level for level, _ in levels], dtype=float)
    groups = np.array([group for _, group in levels], dtype=np.int64)
    there = len(set(groups.tolist())) if grouped else len(levels)
    found = list(stages(np.arange(len(levels)), priorities, groups if grouped else None, batch=batch, reserve=reserve))
    assert len(found) <= 4
    assert sum(stage.batch for stage in found) == min(batch, there)
    assert sum(stage.batch + stage.reserve for stage in found) == min(batch + reserve, there)
    ranges = [(priorities[stage.rows].max(), priorities[stage.rows].min()) for stage in found]
    assert all(before[1] > after[0] for before, after in pairwise(ranges))
    if grouped:
        owners = [set(groups[stage.rows].tolist()) for stage in found]
        assert sum(map(len, owners)) == len(set().union(*owners))


def test_scores_are_lifted_in_the_batch_and_held_down_behind_it() -> None:
    priorities = np.array([9.0, 5, 0, 0, 0, -1])
    scores = np.array([0.1, 0.9, 0.6, 0.4, 0.8, 0.7])
    assert never_rising(scores, priorities, 3).tolist() == [0.9, 0.9, 0.6, 0.4, 0.4, 0.4]
    assert never_rising(scores, priorities, 0).tolist() == [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert never_rising(scores[:0], priorities[:0], 0).size == 0
