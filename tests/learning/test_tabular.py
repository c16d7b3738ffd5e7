"""The encoder of tables, by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import OneHotEncoder

from workers.learning.featurizers.tabular import MAX_CATEGORIES, TabularEncoder

PARAMS = {"min_frequency": 1, "max_categories": 50, "latent": 4}


def fit(rows: list[dict[str, Any]], *kinds: str, **params: Any) -> TabularEncoder:
    """Of fields f0, f1, ... of these types."""
    fields = [{"name": f"f{place}", "type": kind} for place, kind in enumerate(kinds)]
    return TabularEncoder.fit(rows, fields, {**PARAMS, **params})


def column(*values: Any) -> list[dict[str, Any]]:
    return [{} if value is None else {"f0": value} for value in values]


def test_numbers_are_imputed_by_the_median_and_scaled_to_two_deviations() -> None:
    encoder = fit(column(1, 2, None, 9), "number")
    # median 2: the values are 1, 2, 2, 9 with mean 3.5 and deviation sqrt(41 / 4)
    deviation = np.sqrt((2.5**2 + 2 * 1.5**2 + 5.5**2) / 4)
    expected = [[-2.5 / deviation / 2, 0], [-1.5 / deviation / 2, 0], [-1.5 / deviation / 2, 1]]
    assert_allclose(encoder.encode(column(1, 2, None)), expected, rtol=1e-6)


def test_numbers_far_out_are_held_back() -> None:
    encoder = fit(column(0, 1, 2), "number")
    assert encoder.encode(column(3.4e38, -3.4e38))[:, 0].tolist() == [2.0, -2.0]


@pytest.mark.parametrize("values", [(None, None), (), (5,), (5, 5, 5)])
def test_numbers_that_say_nothing_are_zeros(values: tuple[Any, ...]) -> None:
    encoded = fit(column(*values), "number").encode(column(*(values or (None,))))
    assert_array_equal(encoded[:, 0], 0)


def test_rare_and_unseen_categories_are_other() -> None:
    encoder = fit(column("a", "b", "b", "c", "c", "c", None), "category", min_frequency=2)
    assert encoder.told == [{"name": "f0", "type": "category", "categories": 2, "other_share": round(1 / 6, 4)}]
    #                   b  c  other  gap
    expected = {"b": [1, 0, 0, 0], "c": [0, 1, 0, 0], "a": [0, 0, 1, 0], "new": [0, 0, 1, 0], None: [0, 0, 0, 1]}
    for value, columns in expected.items():
        assert encoder.encode(column(value)).tolist() == [columns], value


def test_categories_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values = [f"v{n}" for n in rng.geometric(0.2, size=500)]
    encoded = fit(column(*values), "category", min_frequency=5).encode(column(*values))
    own = OneHotEncoder(min_frequency=5, sparse_output=False)
    assert_array_equal(encoded[:, :-1], own.fit_transform(np.array(values)[:, np.newaxis]))


def test_the_most_frequent_categories_are_kept_and_ties_go_by_name() -> None:
    encoder = fit(column("d", "c", "b", "b", "a"), "category", max_categories=2)
    assert encoder.encode(column("a", "b", "c", "d")).tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
    ]


def test_any_number_of_categories_has_few_columns() -> None:
    encoder = fit(column(*(f"user{n}" for n in range(10_000))), "category", max_categories=50)
    assert encoder.encode(column("user1")).shape == (1, 52)
    assert encoder.told[0]["other_share"] == 0.995
    rows = [{f"f{place}": f"{n}" for place in range(100)} for n in range(100)]
    assert fit(rows, *["category"] * 100).encode(rows[:1]).shape[1] <= MAX_CATEGORIES + 200


def test_categories_are_the_same_in_json_and_csv() -> None:
    encoder = fit(column("1", 1, 1.0, "true", True, "1.5", 1.5), "category")
    assert encoder.told[0]["categories"] == 3


def test_dates() -> None:
    encoder = fit(column("2024-01-01", "2026-01-01T00:00:00Z"), "date")
    (encoded,) = encoder.encode(column("2024-04-01T08:00:00+02:00"))
    days = 91.25  # of 731: the mean is day 365.5, which is also the deviation
    assert_allclose(encoded[:2], [(days - 365.5) / 365.5 / 2, -0.5], rtol=1e-4)
    angles = 2 * np.pi * np.array([3 / 12, 0 / 7, 6 / 24])  # April, Monday, six o'clock in UTC
    assert_allclose(encoded[2:5], np.sin(angles) / 2, atol=1e-6)
    assert_allclose(encoded[5:8], np.cos(angles) / 2, atol=1e-6)
    assert encoded[8] == 0


def test_a_gap_among_dates_is_the_median_without_a_place_in_the_year() -> None:
    encoder = fit(column("2024-01-01", "2025-01-01", "2026-01-01"), "date")
    (gap,) = encoder.encode(column(None))
    assert_allclose(gap, [0, 0, 0, 0, 0, 0, 0, 0, 1], atol=1e-2)


def test_text_is_condensed_to_dimensions_of_length_one() -> None:
    texts = [f"{'cat dog' if n % 2 else 'bank money'} {'cow' if n % 2 else 'coin'} number{n % 3}" for n in range(64)]
    encoder = fit(column(*texts, None), "text")
    X = encoder.encode(column("cat cow", "dog", "bank coin", None))
    assert_allclose(np.linalg.norm(X[:3], axis=1), 1, rtol=1e-5)
    assert X[0] @ X[1] > 0.8
    assert abs(X[0] @ X[2]) < 0.2
    assert not X[3].any()


def test_rows_are_encoded_by_themselves_and_holes_are_zeros() -> None:
    rows = [
        {
            "f0": n,
            "f1": "xyz"[n % 3],
            "f2": f"20{n % 30:02}-05-06T07:08:09.123456789Z",
            "f3": f"word{n % 7} word{n % 3}",
        }
        for n in range(200)
    ]
    encoder = fit(rows, "number", "category", "date", "text")
    together = encoder.encode([rows[5], None, rows[9]])
    assert not together[1].any()
    assert_allclose(together[[0, 2]], np.vstack([encoder.encode([rows[5]]), encoder.encode([rows[9]])]), atol=1e-6)
    assert_array_equal(encoder.encode([None]), np.zeros((1, together.shape[1]), dtype=np.float32))


def test_what_is_kept_in_a_file_encodes_the_same() -> None:
    rows = [{"f0": n, "f1": "xyz"[n % 3], "f2": "2024-05-06", "f3": f"word{n % 7} word{n % 3}"} for n in range(100)]
    encoder = fit(rows, "number", "category", "date", "text")
    again = TabularEncoder.load(encoder.dump())
    assert again.told == encoder.told
    assert_array_equal(again.encode(rows), encoder.encode(rows))
    assert_array_equal(fit(rows, "number", "category", "date", "text").encode(rows), encoder.encode(rows))
