from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.learning.pools import blobs, probabilities
from tests.learning.selecting import request_of
from workers.learning.confidence import class_thresholds, judge
from workers.learning.estimators.training import TrainingRequest
from workers.learning.matrices import ArrayReader
from workers.learning.metrics import cross_validated_probabilities
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank
from workers.learning.strategies.errors import LabelErrors

P = np.array(
    [[0.9, 0.1, 0], [0.5, 0.5, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.3, 0.7, 0], [0, 0.1, 0.9]], dtype=np.float32
)
Y = np.array([0, 0, 0, 1, 1, 2])


def test_confident_learning_by_hand() -> None:
    # t_0 = (.9 + .5 + .2) / 3 = .533, t_1 = (.4 + .7) / 2 = .55; class 2 has one label.
    thresholds = class_thresholds(P, Y)
    np.testing.assert_allclose(thresholds, [1.6 / 3, 0.55, np.inf], rtol=1e-6)
    verdicts = judge(P, Y, thresholds)
    # Row 1 reaches no threshold and is undecided; row 2 is taken for class 1, row 3 for class 0.
    assert verdicts.suggested.tolist() == [0, 0, 1, 0, 1, 2]
    np.testing.assert_allclose(verdicts.margins, [0.8, 0, -0.6, -0.2, 0.4, np.nan], atol=1e-6)
    assert np.argsort(-verdicts.suspicion).tolist() == [2, 3, 1, 4, 0, 5]


def test_a_contradicted_label_comes_before_every_other_whatever_its_margin() -> None:
    # Class 0 is told with confidence, class 1 never: .3 is much for it.
    shown = np.array([[0.95, 0.05], [0.95, 0.05], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]], dtype=np.float32)
    verdicts = judge(shown, np.array([0, 0, 0, 1, 1]), class_thresholds(shown, np.array([0, 0, 0, 1, 1])))
    assert verdicts.suggested.tolist() == [0, 0, 1, 0, 0]
    assert np.argsort(-verdicts.suspicion, kind="stable").tolist() == [4, 2, 3, 0, 1]


@given(seed=st.integers(0, 2**32), classes=st.integers(2, 12))
def test_verdicts_do_not_depend_on_the_order_of_classes_or_rows(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    shown, y = probabilities(40, classes, rng), rng.integers(classes, size=40)
    verdicts = judge(shown, y, class_thresholds(shown, y))
    rows, order = rng.permutation(40), rng.permutation(classes)
    moved, codes = shown[rows][:, order], np.argsort(order)[y[rows]]
    again = judge(moved, codes, class_thresholds(moved, codes))
    np.testing.assert_array_equal(order[again.suggested], verdicts.suggested[rows])
    np.testing.assert_allclose(again.suspicion, verdicts.suspicion[rows], atol=1e-6)
    np.testing.assert_array_equal(np.isnan(verdicts.margins), np.bincount(y, minlength=classes)[y] < 2)


@pytest.mark.parametrize("classes", [2, 4])
def test_most_of_the_first_are_flipped_labels(classes: int) -> None:
    rng = np.random.default_rng(classes)
    X, y = blobs(400, classes, rng)
    X = (X + 2 * rng.normal(size=X.shape)).astype(np.float32)
    flipped = rng.choice(400, size=20, replace=False)
    given = y.copy()
    given[flipped] = (y[flipped] + rng.integers(1, classes, size=20)) % classes
    names = [str(code) for code in range(classes)]
    out = cross_validated_probabilities(TrainingRequest(X=X, y=given, classes=names, params={"C": 10.0}), 5)
    query = Query(
        strategy="label_errors",
        k=20,
        candidates=np.ones(400, dtype=bool),
        classes=classes,
        probabilities=ArrayReader(out),
        labelled=LabelledRows(np.arange(400), given),
        labels_count=400,
    )
    ranking = rank(query)
    assert np.intersect1d(ranking.rows, flipped).size >= 17
    found = np.intersect1d(ranking.rows, flipped)
    suggested = judge(out, given, class_thresholds(out, given)).suggested
    assert np.mean(suggested[found] == y[found]) > 0.9
    assert (suggested[found] != given[found]).all()
    # Thresholds come from all labels, whoever may be picked.
    some = np.isin(np.arange(400), ranking.rows[5:])
    assert rank(replace(query, candidates=some, k=15)).rows.tolist() == ranking.rows[5:].tolist()


def test_candidates_without_a_label_come_last_and_no_label_at_all_is_random() -> None:
    shown = probabilities(30, 3, np.random.default_rng(0))
    labels: dict[str, Any] = {"labelled_P": shown[:10], "labelled_y": np.arange(10) % 3}
    codes = np.where(np.arange(30) < 10, np.arange(30) % 3, -1)
    request = request_of(np.zeros((30, 2)), 30, P=shown, y=codes, **labels)
    selection = LabelErrors().select(request)
    assert set(selection.positions[:10]) == set(range(10))
    assert np.isnan(selection.values[10:]).all()
    none = np.empty(0, dtype=np.int64)
    orders = [
        LabelErrors().select(replace(request, y=np.full(30, -1), labelled_y=none, seed=seed)).positions.tolist()
        for seed in (1, 2)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(30))
