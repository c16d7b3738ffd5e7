"""The held-out part and cross-validation: no group is on both sides."""

from typing import Any

import numpy as np
import pytest

from tests.support.bodies import upload
from tests.support.pools import add_labels, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import train
from workers.jobs.groups import Groups, read_groups
from workers.jobs.holdout import holdout_mask
from workers.learning.estimators.training import TrainingRequest
from workers.learning.metrics import cross_validated_probabilities
from workers.learning.ties import tie_keys

_FRACTION = 0.4


def grouped(api: Api, count: int = 90, *, size: int = 3, **project: Any) -> str:
    """A project whose examples belong to documents of so many, but for the last third."""
    project_id = api.project(retraining={"automatic": False}, **project)
    rows = [{"id": f"e{n}", "vector": vector_of(n)} for n in range(count)]
    for n in range(count * 2 // 3):
        rows[n]["group"] = f"document {n // size}"
    assert upload(api, project_id, rows).status_code == 200
    return project_id


def groups_of(api: Api, project_id: str, rows: int) -> Groups:
    with api.runtime.database.read() as session:
        found = read_groups(session, project_id, rows)
    assert found is not None
    return found


def trained(api: Api, project_id: str) -> dict[str, Any]:
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    models: list[dict[str, Any]] = api.http.get(f"/v1/projects/{project_id}/models").json()["items"]
    return models[0]


def test_a_group_is_held_out_as_a_whole_or_not_at_all(api: Api) -> None:
    groups = groups_of(api, grouped(api), 90)
    mask = holdout_mask(90, _FRACTION, 5, groups)
    by_group = mask[:60].reshape(20, 3)
    assert set(by_group.sum(axis=1).tolist()) == {0, 3}
    np.testing.assert_array_equal(mask[60:], holdout_mask(90, _FRACTION, 5)[60:])


def test_a_group_stays_where_it_is_whatever_comes_and_goes(api: Api) -> None:
    project_id = grouped(api)
    before = holdout_mask(90, _FRACTION, 5, groups_of(api, project_id, 90))
    more = [{"id": f"n{n}", "vector": [0, 1], "group": f"document {n}"} for n in range(-5, 20)]
    assert upload(api, project_id, more).status_code == 200
    for n in (0, 3, 7):
        assert api.http.delete(f"/v1/projects/{project_id}/examples/e{n}").status_code == 204
    after = holdout_mask(115, _FRACTION, 5, groups_of(api, project_id, 115))
    kept = [n for n in range(90) if n not in {0, 3, 7}]
    np.testing.assert_array_equal(after[kept], before[kept])
    np.testing.assert_array_equal(after[95:115], before[:60:3])


def test_without_groups_each_row_is_drawn_as_ever(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, [{"id": f"e{n}", "vector": vector_of(n)} for n in range(9)])
    with api.runtime.database.read() as session:
        assert read_groups(session, project_id, 9) is None
    keys = tie_keys(np.arange(900), 3, purpose="holdout")
    np.testing.assert_array_equal(holdout_mask(900, 0.25, 3), keys < np.uint64(2**62))


def test_no_group_is_trained_on_and_measures(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[train.Parts] = []
    split = train.split

    def kept(*args: Any, **named: Any) -> train.Parts:
        seen.append(split(*args, **named))
        return seen[-1]

    monkeypatch.setattr(train, "split", kept)
    project_id = grouped(api, holdout_fraction=_FRACTION)
    add_labels(api, project_id, range(90))
    model = trained(api, project_id)
    assert model["metrics"]["accuracy"]["method"] == "holdout"
    (parts,) = seen
    codes = groups_of(api, project_id, 90).codes
    assert parts.train.size
    assert parts.holdout.size
    assert not np.isin(codes[parts.train.rows], codes[parts.holdout.rows]).any()


def test_no_group_is_on_both_sides_of_a_batch(api: Api) -> None:
    project_id = grouped(api, holdout_fraction=_FRACTION)
    found = batch(api, project_id, k=20, lease_seconds=0)
    held: set[int] = set()
    others: set[int] = set()
    for item in found["items"]:
        number = int(item["example_id"][1:])
        side = held if item["reason"]["strategy"] == "holdout" else others
        side.add(number // 3 if number < 60 else number)
    assert held
    assert others
    assert held.isdisjoint(others)


def test_folds_know_the_groups(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainingRequest] = []

    def kept(request: TrainingRequest, folds: int) -> Any:
        asked.append(request)
        return cross_validated_probabilities(request, folds)

    monkeypatch.setattr(train, "cross_validated_probabilities", kept)
    project_id = grouped(api)
    add_labels(api, project_id, range(40))
    assert trained(api, project_id)["metrics"]["accuracy"]["method"] == "cross_validation"
    (request,) = asked
    assert request.groups is not None
    codes = groups_of(api, project_id, 90).codes
    assert sorted(request.groups.tolist()) == sorted(codes[range(40)].tolist())


def test_a_single_group_leaves_a_model_that_nothing_measures(api: Api) -> None:
    goal = {"metric": "accuracy", "at_least": 0.9}
    project_id = grouped(api, size=60, goal=goal)
    add_labels(api, project_id, range(30))
    model = trained(api, project_id)
    assert (model["version"], model["metrics"]) == (1, {})
    progress = api.http.get(f"/v1/projects/{project_id}/progress").json()
    assert progress["labels_left"]["reason"] == "not_estimated"
    assert progress["stopping"]["suggested"] is False
    found = batch(api, project_id, k=3, strategy="label_errors", lease_seconds=0)
    assert found["strategy"]["fallback_reason"] == "one_group"
    assert batch(api, project_id, k=3, strategy="margin", lease_seconds=0)["strategy"]["name"] == "margin"
