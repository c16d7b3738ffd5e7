import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.learning.ties import random_subset, shuffled, tie_keys
from workers.learning.top import Top

scores_with_ties = st.lists(st.sampled_from([0.0, 0.25, 0.5000001, 0.5000002, 1.0]), min_size=1, max_size=60)


@given(scores=scores_with_ties, count=st.integers(1, 70), cut=st.integers(0, 60), seed=st.integers(0, 2**64))
def test_merging_parts_is_ranking_the_whole(scores: list[float], count: int, cut: int, seed: int) -> None:
    rows, values = np.arange(len(scores)), np.array(scores)
    whole = Top.of(rows, values, count, seed)
    parts = [Top.of(rows[part], values[part], count, seed) for part in (slice(cut, None), slice(cut))]
    merged = parts[0].merged(parts[1], count, seed)
    np.testing.assert_array_equal(whole.rows, merged.rows)
    np.testing.assert_array_equal(whole.scores, merged.scores)
    assert whole.rows.size == min(count, len(scores))
    assert whole.scores.tolist() == sorted(np.round(values, 6), reverse=True)[:count]


def test_differences_beyond_six_digits_are_ties() -> None:
    rows = np.arange(50)
    almost = Top.of(rows, 0.3 + rows * 1e-9, 50, 1)
    np.testing.assert_array_equal(almost.rows, Top.of(rows, np.full(50, 0.3), 50, 1).rows)


def test_keys_are_uniform_and_depend_on_seed_and_purpose() -> None:
    rows = np.arange(20_000)
    keys = tie_keys(rows, 5)
    assert np.unique(keys).size == rows.size
    counts = np.histogram(keys / 2.0**64, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1_000).max() < 150
    for other in (tie_keys(rows, 6), tie_keys(rows, 5, purpose="explore")):
        assert abs(np.corrcoef(keys / 2.0**64, other / 2.0**64)[0, 1]) < 0.03


def test_subset_keeps_the_order_and_does_not_favour_any_row() -> None:
    rows = np.array([3, 1, 9, 4])
    assert random_subset(rows, 9, 0, purpose="x").tolist() == [3, 1, 9, 4]
    drawn = np.concatenate([random_subset(rows, 2, seed, purpose="x") for seed in range(400)])
    assert np.bincount(drawn)[rows].min() > 150
    assert sorted(shuffled(rows, 1)) == [1, 3, 4, 9]
