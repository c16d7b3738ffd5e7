"""Which version serves: activating, pinning, rolling back."""

from typing import Any

import numpy as np
import pytest

from tests.support.bodies import counts
from tests.support.own_models import activate, own_model, predictions, said
from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import measuring
from workers.learning import metrics


def trained(api: Api, versions: int = 1, **changes: Any) -> str:
    """A project of 40 examples with so many versions, each of four labels more."""
    project_id = api.project(**{"retraining": {"automatic": False}, **changes})
    add_examples(api, project_id, 40)
    for number in range(versions):
        more(api, project_id, 4 * number)
    return project_id


def more(api: Api, project_id: str, first: int) -> dict[str, Any]:
    """Four labels and a training that was asked for: its result."""
    add_labels(api, project_id, range(first, first + 4))
    job = api.http.post(f"/v1/projects/{project_id}/trainings", json={}).json()
    drain(api.runtime)
    result: dict[str, Any] = api.http.get(f"/v1/jobs/{job['id']}").json()["result"]
    return result


def shown(api: Api, project_id: str) -> list[tuple[int, bool, bool]]:
    """Version, serving and pinned of every model."""
    found = api.http.get(f"/v1/projects/{project_id}/models").json()["items"]
    return [(model["version"], model["serving"], model["pinned"]) for model in found]


def ranked_by(api: Api, project_id: str) -> dict[str, Any]:
    """The model of a batch by margin."""
    note: dict[str, Any] = batch(api, project_id, k=3, strategy="margin", lease_seconds=0)["model"]
    return note


def test_an_older_version_serves_again_and_later_trainings_leave_it(api: Api) -> None:
    project_id = trained(api, versions=2)
    newer = batch(api, project_id, k=10, strategy="margin", lease_seconds=0)
    model = activate(api, project_id, 1)
    assert (model["version"], model["serving"], model["pinned"], model["labels_used"]) == (1, True, True, 4)
    assert counts(api, project_id)["model_version"] == 1
    older = batch(api, project_id, k=10, strategy="margin", lease_seconds=0)
    assert (older["model"]["version"], older["model"]["labels_since"]) == (1, 4)
    assert [i["score"] for i in older["items"]] != [i["score"] for i in newer["items"]]
    result = more(api, project_id, 8)
    assert (result["model"]["version"], result["serving"]) == (3, False)
    assert ranked_by(api, project_id)["version"] == 1
    assert shown(api, project_id) == [(3, False, False), (2, False, False), (1, True, True)]


def test_without_a_pin_the_next_training_takes_over(api: Api) -> None:
    project_id = trained(api, versions=2)
    activate(api, project_id, 1)
    model = activate(api, project_id, 2, pin=False)
    assert (model["serving"], model["pinned"]) == (True, False)
    result = more(api, project_id, 8)
    assert (result["model"]["version"], result["serving"]) == (3, True)
    assert ranked_by(api, project_id)["version"] == 3


def test_a_version_that_serves_again_gives_the_same_batch(api: Api) -> None:
    project_id = trained(api, versions=2)
    before = batch(api, project_id, k=10, strategy="margin", lease_seconds=0)["items"]
    activate(api, project_id, 1)
    batch(api, project_id, k=10, strategy="margin", lease_seconds=0)
    activate(api, project_id, 2)
    assert batch(api, project_id, k=10, strategy="margin", lease_seconds=0)["items"] == before


def test_numbers_of_versions_go_on_behind_the_newest(api: Api) -> None:
    project_id = trained(api)
    assert predictions(api, project_id, said(range(40))).json()["model_version"] == 2
    assert more(api, project_id, 4)["model"]["version"] == 3
    assert shown(api, project_id) == [(3, True, False), (2, False, False), (1, False, False)]


def test_a_model_of_the_clients_own_is_pinned_and_nothing_is_trained_by_itself(api: Api) -> None:
    policy = {"automatic": True, "first_at": 2, "every": 2, "idle_seconds": 1}
    project_id = api.project(retraining=policy)
    add_examples(api, project_id, 40)
    version = own_model(api, project_id, said(range(40)))
    answer = add_labels(api, project_id, range(8))
    assert answer["training"] == {"job_id": None, "labels_until_next": None}
    note = ranked_by(api, project_id)
    assert note == {"version": version, "labels_used": 0, "labels_since": 8, "training_job_id": None, "name": "mine"}
    job = api.http.post(f"/v1/projects/{project_id}/trainings", json={}).json()
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{job['id']}").json()["result"]["serving"] is False
    assert shown(api, project_id) == [(2, False, False), (1, True, True)]


def test_when_a_trained_version_takes_over_the_policy_counts_again(api: Api) -> None:
    project_id = trained(api, retraining={"automatic": True, "first_at": 100, "every": 5})
    own_model(api, project_id, said(range(40)))
    add_labels(api, project_id, range(4, 12))
    drain(api.runtime)
    assert len(shown(api, project_id)) == 2
    activate(api, project_id, 1, pin=False)
    drain(api.runtime)
    assert shown(api, project_id)[0] == (3, True, False)


def test_the_older_of_two_own_versions_serves_again(api: Api) -> None:
    project_id = trained(api, versions=0)
    own_model(api, project_id, said(range(40)))
    first = batch(api, project_id, k=5, strategy="margin", lease_seconds=0)
    own_model(api, project_id, [{"id": f"e{n}", "probabilities": [n / 200, 1 - n / 200]} for n in range(20)])
    second = batch(api, project_id, k=5, strategy="margin", lease_seconds=0)
    assert (second["model"]["version"], second["pool"]["candidates"]) == (2, 20)
    activate(api, project_id, 1)
    again = batch(api, project_id, k=5, strategy="margin", lease_seconds=0)
    assert again["items"] == first["items"]


def test_activating_twice_changes_nothing(api: Api) -> None:
    project_id = trained(api)
    assert activate(api, project_id, 1) == activate(api, project_id, 1)


@pytest.mark.parametrize("version", [2, 2**31 - 1])
def test_there_has_to_be_such_a_version(api: Api, version: int) -> None:
    project_id = trained(api)
    answer = api.http.post(f"/v1/projects/{project_id}/models/{version}/activate")
    assert answer.status_code == 404
    assert shown(api, project_id) == [(1, True, False)]


@pytest.mark.parametrize("body", [{"pin": "yes"}, {"pinned": True}, []])
def test_a_wrong_body_is_refused(api: Api, body: Any) -> None:
    project_id = trained(api)
    answer = api.http.post(f"/v1/projects/{project_id}/models/1/activate", json=body)
    assert answer.status_code == 422
    assert shown(api, project_id) == [(1, True, False)]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "artifact", None), ("POST", "predict", {"examples": [{"vector": [0, 0]}]})],
)
def test_what_only_a_trained_model_can_do_is_refused_of_another(
    api: Api, method: str, path: str, body: dict[str, Any] | None
) -> None:
    project_id = trained(api, versions=0)
    own_model(api, project_id, said(range(4)))
    answer = api.http.request(method, f"/v1/projects/{project_id}/models/1/{path}", json=body)
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/path/version", "external_model")]


def test_a_model_of_the_clients_own_is_measured_on_what_it_says_of_test_rows(api: Api) -> None:
    project_id = trained(api, versions=0)
    path = f"/v1/projects/{project_id}"
    rows = [{"id": f"t{n}", "vector": [0.0, n], "split": "test", "label": "ab"[n % 2]} for n in range(12)]
    assert api.http.post(f"{path}/examples", json={"examples": rows}).status_code == 200
    right = [{"id": f"t{n}", "probabilities": [1 - n % 2, n % 2]} for n in range(8)]
    wrong = [{"id": f"t{n}", "probabilities": [n % 2, 1 - n % 2]} for n in range(8, 10)]
    version = own_model(api, project_id, [*said(range(40)), *right, *wrong])
    assert api.http.get(f"{path}/models/{version}").json()["metrics"] == {}
    drain(api.runtime)
    accuracy = api.http.get(f"{path}/models/{version}").json()["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["method"], accuracy["biased"]) == (0.8, 10, "test", False)
    (point,) = api.http.get(f"{path}/progress").json()["curve"]
    assert (point["model_version"], point["metrics"]["accuracy"]["value"]) == (version, 0.8)
    jobs = api.http.get(f"{path}/jobs", params={"kind": "measuring"}).json()["items"]
    assert [job["result"]["reason"] for job in jobs] == [None]
    activate(api, project_id, version)  # again: there is nothing new to measure
    assert len(api.http.get(f"{path}/jobs", params={"kind": "measuring"}).json()["items"]) == 1


def test_without_labelled_test_rows_a_model_of_the_clients_own_has_no_metrics(api: Api) -> None:
    project_id = trained(api, versions=1)
    version = own_model(api, project_id, said(range(40)))
    drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}/models/{version}").json()["metrics"] == {}
    (job,) = api.http.get(f"/v1/projects/{project_id}/jobs", params={"kind": "measuring"}).json()["items"]
    assert (job["state"], job["result"]["reason"]) == ("succeeded", "no_test_rows")


def test_classes_that_were_added_since_are_ones_that_a_model_of_the_clients_own_never_says(api: Api) -> None:
    project_id = trained(api, versions=0)
    path = f"/v1/projects/{project_id}"
    predicted = [{"id": f"t{n}", "probabilities": [1 - n % 2, n % 2]} for n in range(4)]
    rows = [{"id": f"t{n}", "vector": [0.0, n], "split": "test"} for n in range(4)]
    assert api.http.post(f"{path}/examples", json={"examples": rows}).status_code == 200
    own_model(api, project_id, predicted)
    more_classes = {"task": {"type": "classification", "classes": ["a", "b", "c"]}}
    assert api.http.patch(path, json=more_classes, headers={"If-Match": "*"}).status_code == 200
    labels = [{"example_id": f"t{n}", "label": "c" if n == 0 else "ab"[n % 2]} for n in range(4)]
    assert api.http.post(f"{path}/labels", json={"labels": labels}).status_code == 200
    drain(api.runtime)
    assert api.http.get(f"{path}/models/1").json()["metrics"]["accuracy"]["value"] == 0.75


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_model_of_the_clients_own_is_not_measured_by_classes_that_were_merged(
    api: Api, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    project_id = trained(api, versions=0, task={"type": "classification", "classes": ["a", "b", "c"]})
    path = f"/v1/projects/{project_id}"
    rows = [{"id": f"t{n}", "vector": [0.0, n], "split": "test", "label": "abc"[n % 3]} for n in range(6)]
    assert api.http.post(f"{path}/examples", json={"examples": rows}).status_code == 200
    own_model(api, project_id, [{"id": f"t{n}", "probabilities": [0, 1, 0]} for n in range(6)])

    def merge(*arguments: Any, **options: Any) -> Any:
        if not merged:
            changed = api.http.patch(path, json={"merge_classes": {"b": "c"}}, headers={"If-Match": "*"})
            merged.append(changed.status_code)
        return evaluate(*arguments, **options)

    evaluate, merged = metrics.evaluate, list[int]()
    if when == "before":
        merge(np.eye(2, dtype=np.float32), np.arange(2), np.random.default_rng(0), task="classification")
    else:
        monkeypatch.setattr(measuring, "evaluate", merge)
    drain(api.runtime)
    assert merged == [200]
    (job,) = api.http.get(f"{path}/jobs", params={"kind": "measuring"}).json()["items"]
    assert (job["state"], job["result"]["reason"]) == ("succeeded", "classes_changed")
    assert api.http.get(f"{path}/models/1").json()["metrics"] == {}
