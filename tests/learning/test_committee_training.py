"""Training a committee: whose labels its members learn, what they share, and its file."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.learning.pools import blobs
from tests.support.estimators import names_for, quick_params
from workers.learning.estimators import committee as module
from workers.learning.estimators.committee import MEMBERS, Committee, Kind, bootstrap_rows, train_committee
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.featurizers.text import featurize
from workers.learning.matrices import is_sparse
from workers.learning.parallel import Parallel

CLASSES = ["a", "b", "c", "d"]

every_kind = pytest.mark.parametrize("kind", ["bootstrap", "estimators"])
every_committee = pytest.mark.parametrize(
    ("estimator", "kind"),
    # of several estimators it is the same one whichever the request names, but for the choice by itself
    [*((name, "bootstrap") for name in names_for("classification")), ("knn", "estimators"), ("auto", "estimators")],
)


def make_request(estimator: str = "logistic_regression", **changes: Any) -> TrainingRequest:
    """60 overlapping rows of three classes, of which the project has four: `b` has no label."""
    X, y = blobs(60, 3, np.random.default_rng(7))
    X += np.random.default_rng(8).normal(scale=3, size=X.shape).astype(np.float32)
    params = quick_params(estimator)
    return replace(
        TrainingRequest(X=X, y=np.array([0, 2, 3])[y], classes=CLASSES, estimator=estimator, params=params, seed=4),
        **changes,
    )


def texts() -> TrainingRequest:
    words = {0: "refund money card", 2: "late parcel lost", 3: "thanks great love"}
    y = np.array([0, 2, 3] * 8)
    rows = [f"{words[code]} order {number}" for number, code in enumerate(y.tolist())]
    return make_request(X=featurize(rows, {}), y=y, text=True, background=featurize(["order", "lost money"], {}))


def assert_as_alone(found: Committee, request: TrainingRequest) -> None:
    """Together the members say what each says alone."""
    X = request.X
    P = found.predictions(X).reshape(X.shape[0], found.size, len(CLASSES))
    alone = [TrainedModel(pipeline, len(CLASSES)).predictions(X) for pipeline in found.pipelines]
    np.testing.assert_allclose(P, np.stack(alone, axis=1), atol=1e-6)
    np.testing.assert_allclose(P.sum(axis=2), 1, atol=1e-5)
    assert not P[:, :, 1].any()
    assert np.abs(P - P[:, :1]).max() > 0.01


@every_committee
def test_members_disagree_and_the_file_gives_them_back(estimator: str, kind: Kind) -> None:
    request = make_request(estimator)
    found = train_committee(request, count=4, kind=kind, parallel=Parallel())
    assert found.size == 4
    assert_as_alone(found, request)
    loaded = Committee.load(found.dump(), class_count=4)
    np.testing.assert_array_equal(loaded.predictions(request.X), found.predictions(request.X))


@every_kind
def test_text_goes_through_shared_steps_once(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    request = texts()
    found = train_committee(request, count=3, kind=kind, parallel=Parallel())
    assert_as_alone(found, request)
    loaded = Committee.load(found.dump(), class_count=4)
    first = type(loaded.pipelines[0][0])
    seen: list[Any] = []
    original = first.transform

    def counted(self: Any, X: Any) -> Any:
        seen.append(self)
        return original(self, X)

    monkeypatch.setattr(first, "transform", counted)
    P = loaded.predictions(request.X)
    assert len(seen) == len({tuple(id(step) for _, step in pipeline.steps[:-1]) for pipeline in found.pipelines})
    assert len({id(pipeline[0]) for pipeline in found.pipelines}) == 1
    np.testing.assert_array_equal(P, found.predictions(request.X))
    assert is_sparse(request.X)


@every_committee
def test_same_labels_same_committee(estimator: str, kind: Kind) -> None:
    request = make_request(estimator)
    one = train_committee(request, count=3, kind=kind, parallel=Parallel())
    again = train_committee(request, count=3, kind=kind, parallel=Parallel("threads", 3))
    np.testing.assert_array_equal(again.predictions(request.X), one.predictions(request.X))
    other = train_committee(replace(request, seed=5), count=3, kind=kind, parallel=Parallel())
    assert (other.predictions(request.X) != one.predictions(request.X)).any()


class Elsewhere(Parallel):
    """Work that goes to another process and back."""

    def map(self, function: Any, items: Any) -> Any:
        for item in items:
            there, task = pickle.loads(pickle.dumps((function, item)))  # noqa: S301 - made here
            yield pickle.loads(pickle.dumps(there(task)))  # noqa: S301 - made here


def test_members_from_other_processes_share_their_steps_again() -> None:
    request = texts()
    found = train_committee(request, count=2, kind="bootstrap", parallel=Elsewhere())
    same = train_committee(request, count=2, kind="bootstrap", parallel=Parallel())
    np.testing.assert_array_equal(found.predictions(request.X), same.predictions(request.X))
    assert found.pipelines[0][0] is found.pipelines[1][0]


def test_estimators_come_in_turn_first_on_all_labels() -> None:
    request = make_request("random_forest")
    found = train_committee(request, count=8, kind="estimators", parallel=Parallel())
    kinds = [type(pipeline[-1]).__name__ for pipeline in found.pipelines]
    turn = len(MEMBERS)
    assert len(set(kinds[:turn])) == turn - 1  # a linear machine becomes a logistic regression
    assert kinds[turn:] == kinds[:2]
    plain = train(make_request(params={}))
    np.testing.assert_allclose(found.predictions(request.X)[:, :4], plain.predictions(request.X), atol=1e-5)


@given(seed=st.integers(0, 2**32), counts=st.lists(st.integers(0, 6), min_size=2, max_size=8))
def test_a_bootstrap_sample_keeps_each_class_with_its_count(seed: int, counts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = bootstrap_rows(y, rng)
    np.testing.assert_array_equal(np.bincount(y[rows], minlength=len(counts)), counts)


def test_bootstrap_samples_leave_out_a_third_and_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(2_000) % 4
    samples = [bootstrap_rows(y, rng) for _ in range(50)]
    assert np.mean([np.unique(rows).size for rows in samples]) / y.size == pytest.approx(1 - np.exp(-1), abs=0.01)
    times = np.bincount(np.concatenate(samples), minlength=y.size)
    assert times.mean() == pytest.approx(50)
    assert times.var() == pytest.approx(50, rel=0.15)


def test_rows_that_overflow_float32_are_finite() -> None:
    request = make_request()
    found = train_committee(request, count=3, kind="bootstrap", parallel=Parallel())
    far = np.vstack([request.X[:5], np.full((2, request.X.shape[1]), 3e38, dtype=np.float32)])
    P = found.predictions(far)
    assert np.isfinite(P).all()
    np.testing.assert_allclose(P[:5], found.predictions(request.X[:5]), atol=1e-6)


def test_no_fit_warns_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", ("logistic_regression",))
    # Far from converged after the first limit, in all threads at once; and as many classes as rows.
    request = make_request(params={"C": 1e6}, y=np.arange(60), classes=[str(code) for code in range(60)])
    found = train_committee(request, count=6, kind="bootstrap", parallel=Parallel("threads", 3))
    assert np.isfinite(found.predictions(request.X)).all()


def test_one_class_is_refused() -> None:
    request = make_request(y=np.zeros(60, dtype=np.int64))
    with pytest.raises(ValueError, match="at least two classes"):
        train_committee(request, count=2, kind="bootstrap", parallel=Parallel())
