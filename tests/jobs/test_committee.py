"""Committees over jobs: trained beside the model, asked once for the pool, and read by the next query."""

from typing import Any

import numpy as np
import pytest

from service.actions.predictions import array_name, chunk_of, members_name
from service.db.queries import arrays, models
from service.storage.artifacts import committee_key
from service.storage.chunks import open_dense
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.learning.estimators.committee import Committee

FOREST = {"name": "random_forest", "params": {"n_estimators": 10, "committee": 3, "committee_of": "estimators"}}
ROWS = 60


def make_project(api: Api, committee: int = 3, **changes: Any) -> str:
    """A trained project of 60 examples, 20 of them labelled, some wrongly."""
    estimator = {"name": "logistic_regression", "params": {"committee": committee}}
    project_id = api.project(**{"estimator": estimator, "retraining": {"automatic": False}, **changes})
    add_examples(api, project_id, ROWS)
    add_labels(api, project_id, range(16))
    wrong = [{"example_id": f"e{n}", "label": "a" if n % 2 else "b"} for n in range(16, 20)]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": wrong})
    retrain(api, project_id)
    return project_id


def retrain(api: Api, project_id: str) -> None:
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(api.runtime)


def patch(api: Api, project_id: str, **changes: Any) -> None:
    headers = {"If-Match": api.http.get(f"/v1/projects/{project_id}").headers["ETag"]}
    answer = api.http.patch(f"/v1/projects/{project_id}", json=changes, headers=headers)
    assert answer.status_code == 200, answer.text


def chunk_keys(api: Api, project_id: str, array: str) -> list[str]:
    with api.runtime.database.read() as session:
        return [row.key for row in arrays.live_chunks(session, project_id, arrays=[array], generation=arrays.LATEST)]


def members_of(api: Api, project_id: str, version: int) -> Any:
    """What the committee's chunk holds [rows, members, classes]."""
    with api.runtime.database.read() as session:
        [row] = arrays.live_chunks(session, project_id, arrays=[members_name(version)], generation=arrays.LATEST)
        return open_dense(api.runtime.objects, chunk_of(row)).reshape(row.stop, -1, 2)


def mutual_information(P: Any) -> Any:
    """Of members' probabilities [n, members, classes], by the textbook."""

    def entropy(p: Any) -> Any:
        return -np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1)

    return entropy(P.mean(axis=1)) - entropy(P).mean(axis=1)


@pytest.mark.parametrize("changes", [{}, {"estimator": FOREST}], ids=["bootstrap", "estimators"])
def test_a_query_ranks_by_what_the_members_say(api: Api, changes: dict[str, Any]) -> None:
    project_id = make_project(api, **changes)
    found = batch(api, project_id, k=40, strategy="bald", lease_seconds=0)
    assert found["strategy"]["name"] == "bald"
    assert found["strategy"]["fallback_reason"] is None
    expected = mutual_information(members_of(api, project_id, 1).astype(np.float64))
    assert expected.max() > 1e-3
    for item in found["items"]:
        row = int(item["example_id"][1:])
        assert item["reason"]["value"] == pytest.approx(expected[row], abs=1e-5)
        assert item["prediction"]["label"] in {"a", "b"}
    assert [item["score"] for item in found["items"]] == sorted((i["score"] for i in found["items"]), reverse=True)


def test_the_committee_is_asked_once_and_only_when_needed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = make_project(api)
    batch(api, project_id, k=5, strategy="margin", lease_seconds=0)
    assert chunk_keys(api, project_id, members_name(1)) == []
    batch(api, project_id, k=5, strategy="vote_entropy", lease_seconds=0)
    filled = chunk_keys(api, project_id, members_name(1))
    assert len(filled) == 1
    monkeypatch.delattr(Committee, "predictions")
    monkeypatch.delattr(Committee, "load")
    candidates = {"strategy": "consensus_entropy", "count": 20}
    batch(api, project_id, k=5, strategy="k_center", candidates=candidates, lease_seconds=0)
    assert chunk_keys(api, project_id, members_name(1)) == filled


def test_new_examples_are_shown_to_the_committee_too(api: Api) -> None:
    project_id = make_project(api)
    batch(api, project_id, k=5, strategy="bald", lease_seconds=0)
    add_examples(api, project_id, 30, first=ROWS)
    assert len(batch(api, project_id, k=70, strategy="bald", lease_seconds=0)["items"]) == 70
    assert (members_of(api, project_id, 1)[ROWS:].sum(axis=2) > 0.99).all()


def test_another_version_retires_what_members_said(api: Api) -> None:
    project_id = make_project(api)
    batch(api, project_id, k=5, strategy="bald", lease_seconds=0)
    add_labels(api, project_id, [20, 21])
    retrain(api, project_id)
    assert chunk_keys(api, project_id, members_name(1)) == chunk_keys(api, project_id, array_name(1)) == []
    batch(api, project_id, k=5, strategy="bald", lease_seconds=0)
    assert len(chunk_keys(api, project_id, members_name(2))) == 1


def test_the_same_labels_give_the_same_committee(api: Api) -> None:
    said = []
    for _ in range(2):
        project_id = make_project(api)
        batch(api, project_id, k=1, strategy="bald", lease_seconds=0)
        said.append(members_of(api, project_id, 1))
    np.testing.assert_array_equal(said[0], said[1])


def test_a_committee_that_is_asked_for_later_serves_after_a_training(api: Api) -> None:
    project_id = make_project(api, committee=0)
    patch(api, project_id, estimator={"name": "logistic_regression", "params": {"committee": 2}})
    before = batch(api, project_id, k=3, strategy="bald", lease_seconds=0)["strategy"]
    assert (before["name"], before["fallback_from"], before["fallback_reason"]) == ("margin", "bald", "no_committee")
    retrain(api, project_id)  # no label is new
    after = batch(api, project_id, k=3, strategy="bald", lease_seconds=0)
    assert (after["strategy"]["name"], after["model"]["version"]) == ("bald", 2)
    assert members_of(api, project_id, 2).shape == (ROWS, 2, 2)


def test_no_file_without_a_committee_and_none_left_after_deletion(api: Api) -> None:
    project_id = make_project(api)
    with api.runtime.database.read() as session:
        model = models.get(session, project_id, 1)
    assert model is not None
    key = committee_key(model.artifact_key)
    assert api.runtime.objects.exists(key)
    patch(api, project_id, estimator={"name": "logistic_regression", "params": {}})
    retrain(api, project_id)
    with api.runtime.database.read() as session:
        alone = models.get(session, project_id, 2)
    assert alone is not None
    assert not api.runtime.objects.exists(committee_key(alone.artifact_key))
    assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
    drain(api.runtime)
    assert not api.runtime.objects.exists(key)


def test_a_class_that_came_after_the_model_is_not_what_members_speak_of(api: Api) -> None:
    project_id = make_project(api)
    task = {"type": "classification", "classes": ["a", "b", "c"]}
    patch(api, project_id, task=task)
    found = batch(api, project_id, k=5, strategy="bald", lease_seconds=0)
    assert found["strategy"]["name"] == "bald"
    assert len(found["items"]) == 5
    sought = batch(api, project_id, k=5, strategy="certainty", params={"target_class": "c"}, lease_seconds=0)
    assert {item["score"] for item in sought["items"]} == {0}


def test_certainty_finds_the_class_that_is_named(api: Api) -> None:
    project_id = make_project(api)
    found = batch(api, project_id, k=10, strategy="certainty", params={"target_class": "b"}, lease_seconds=0)
    assert found["strategy"]["params"] == {"target_class": "b"}
    shown = [item["prediction"]["probabilities"]["b"] for item in found["items"]]
    assert shown == sorted(shown, reverse=True)
    assert [item["score"] for item in found["items"]] == pytest.approx(shown, abs=1e-5)
    candidates = {"strategy": "certainty", "params": {"target_class": "a"}, "count": 15}
    narrowed = batch(api, project_id, k=15, strategy="random", candidates=candidates, lease_seconds=0)
    assert {item["prediction"]["label"] for item in narrowed["items"]} == {"a"}


def test_without_a_model_the_stand_in_names_its_own_parameters(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 10)
    job_id = ask(api, project_id, k=2, strategy="certainty", params={"target_class": "b"})
    drain(api.runtime)
    strategy = api.http.get(f"/v1/jobs/{job_id}/batch").json()["strategy"]
    assert (strategy["fallback_from"], strategy["fallback_reason"]) == ("certainty", "no_model")
    assert "target_class" not in strategy["params"]
