"""Pinning an example, and changing its priority or group by itself."""

from typing import Any

import pytest

from tests.support.bodies import examples, points, upload
from tests.support.pools import ask, batch
from tests.support.runtime import Api
from tests.support.working import drain, run_job

PRIORITIES = {"e1": 1.0, "e2": 3.0, "e3": 3.0, "e4": -1.0}


def change(api: Api, project_id: str, example_id: str, **changes: Any) -> Any:
    return api.http.patch(f"/v1/projects/{project_id}/examples/{example_id}", json=changes)


def test_what_is_sent_changes_and_the_rest_stays(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(1, data={"text": "x", "n": 2}, group="g", priority=2))
    before = examples(api, project_id)["e0"]
    answer = change(api, project_id, "e0", pinned=True)
    assert answer.status_code == 200
    assert answer.json() == {**before, "pinned": True, "updated_at": answer.json()["updated_at"]}
    changed = change(api, project_id, "e0", priority=-0.5, group=None).json()
    assert (changed["priority"], changed["group"], changed["pinned"]) == (-0.5, None, True)
    shown = api.http.get(f"/v1/projects/{project_id}/examples/e0").json()
    assert shown == {**changed, "prediction": None}
    assert change(api, project_id, "e0", priority=None).json()["priority"] is None


@pytest.mark.parametrize("features", [{"type": "vector", "dimensions": 2}, {"type": "none"}])
def test_an_upload_after_it_is_a_change_or_none(api: Api, features: dict[str, Any]) -> None:
    project_id = api.project(features=features)
    row: dict[str, Any] = {"id": "e0", "data": {"text": "x", "n": [2, None]}, "split": "test"}
    if features["type"] == "vector":
        row["vector"] = [1.0, 2.0]
    upload(api, project_id, [row])
    change(api, project_id, "e0", priority=5, group="g", pinned=True)
    assert upload(api, project_id, [{**row, "priority": 5, "group": "g"}]).json()["unchanged"] == 1
    assert upload(api, project_id, [row]).json()["updated"] == 1
    shown = examples(api, project_id)["e0"]
    assert (shown["priority"], shown["group"], shown["pinned"]) == (None, None, True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"pinned": None}, "/pinned"),
        ({"pinned": 1}, "/pinned"),
        ({"priority": "high"}, "/priority"),
        ({"group": ""}, "/group"),
        ({"group": "a\nb"}, "/group"),
        ({"group": "g" * 257}, "/group"),
        ({"label": "a"}, "/label"),
    ],
)
def test_bad_changes_are_refused(api: Api, body: dict[str, Any], pointer: str) -> None:
    project_id = api.project()
    upload(api, project_id, points(1))
    answer = change(api, project_id, "e0", **body)
    assert answer.status_code == 422
    assert [bad["pointer"] for bad in answer.json()["errors"]] == [pointer]
    endless = '{"priority": 1e999}'
    path = f"/v1/projects/{project_id}/examples/e0"
    assert api.http.patch(path, content=endless, headers={"Content-Type": "application/json"}).status_code == 422
    assert examples(api, project_id)["e0"]["priority"] is None


def test_unknown_examples_are_not_found(api: Api) -> None:
    assert change(api, api.project(), "nobody", pinned=True).status_code == 404


def test_the_next_batch_says_why(api: Api) -> None:
    other = api.project()
    upload(api, other, points(9, group="g", priority=8))
    change(api, other, "e0", pinned=True)
    project_id = api.project(retraining={"automatic": False})
    rows = [{**row, **({"priority": PRIORITIES[row["id"]]} if row["id"] in PRIORITIES else {})} for row in points(9)]
    upload(api, project_id, rows)
    change(api, project_id, "e7", pinned=True)
    items = batch(api, project_id, k=9, strategy="random", lease_seconds=0)["items"]
    ids = [item["example_id"] for item in items]
    assert ids[0] == "e7"
    assert set(ids[1:3]) == {"e2", "e3"}
    assert (ids[3], ids[-1]) == ("e1", "e4")
    told = {item["example_id"]: (item["reason"]["priority"], item["reason"]["pinned"]) for item in items}
    assert told["e7"] == (None, True)
    assert {name: told[name] for name in PRIORITIES} == {name: (value, False) for name, value in PRIORITIES.items()}
    assert told["e0"] == (None, False)
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)


def test_a_pinned_example_is_the_next_to_be_given(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    upload(api, project_id, points(5))
    path = f"/v1/projects/{project_id}/next"
    api.http.get(path)
    drain(api.runtime)
    first = api.http.get(path, params={"annotator": "alice"}).json()["example_id"]
    other = next(f"e{n}" for n in range(4, -1, -1) if f"e{n}" != first)
    change(api, project_id, other, pinned=True)
    assert api.http.get(path, params={"annotator": "alice"}).json()["example_id"] == first  # promised before
    assert api.http.get(path, params={"annotator": "bob"}).status_code == 202
    drain(api.runtime)
    given = api.http.get(path, params={"annotator": "bob"}).json()
    assert (given["example_id"], given["reason"]["pinned"]) == (other, True)


def test_an_uploaded_priority_counts_in_the_ranking_after(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    upload(api, project_id, points(6))
    path = f"/v1/projects/{project_id}/next"
    api.http.get(path)
    drain(api.runtime)
    upload(api, project_id, points(1, first=5, priority=1))
    api.http.get(path)
    drain(api.runtime)
    ranked = api.http.get(path).json()
    assert (ranked["example_id"], ranked["reason"]["priority"]) == ("e5", 1.0) or ranked["rank"] > 1


def test_what_refills_a_batch_after_a_race_goes_by_priority_too(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    upload(api, project_id, [*points(6, priority=1), *points(6, first=6)])
    jobs = [ask(api, project_id, k=4, annotator=name, strategy="random", seed=1) for name in ("ann", "bob")]
    for job_id in jobs:
        run_job(api.runtime, job_id)
    first, second = (api.http.get(f"/v1/jobs/{job_id}/batch").json()["items"] for job_id in jobs)
    assert [item["reason"]["priority"] for item in first] == [1.0] * 4
    assert [item["reason"]["priority"] for item in second] == [1.0, 1.0, None, None]
