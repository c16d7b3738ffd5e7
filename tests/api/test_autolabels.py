from typing import Any

import pytest

from tests.jobs.test_autolabels import WISH, ask, made, trained
from tests.support.pools import add_examples
from tests.support.runtime import Api
from tests.support.working import drain


def test_groups_are_listed_the_newest_first(api: Api) -> None:
    project_id = trained(api)
    found = [made(api, project_id, dry_run=True)["id"] for _ in range(3)]
    base = f"/v1/projects/{project_id}/autolabels"
    first = api.http.get(base, params={"page_size": 2}).json()
    rest = api.http.get(base, params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [one["id"] for one in [*first["items"], *rest["items"]]] == found[::-1]
    assert rest["next_page_token"] is None


def test_a_post_is_done_once(api: Api) -> None:
    project_id = trained(api)
    base = f"/v1/projects/{project_id}/autolabels"
    jobs = [api.http.post(base, json=WISH, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert jobs[0].json()["id"] == jobs[1].json()["id"]
    assert jobs[0].headers["Location"] == f"/v1/jobs/{jobs[0].json()['id']}"
    assert len(api.http.get(base).json()["items"]) == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"target_precision": 1.0}, "/target_precision"),
        ({"target_precision": 0.2}, "/target_precision"),
        ({"target_precision": "high"}, "/target_precision"),
        ({"confidence_level": 1}, "/confidence_level"),
        ({"audit_share": 0.9}, "/audit_share"),
        ({"max_labels": 0}, "/max_labels"),
        ({"threshold": 0.9}, "/threshold"),
    ],
)
def test_bad_wishes_are_refused(api: Api, changes: dict[str, Any], pointer: str) -> None:
    project_id = api.project()
    answer = api.http.post(f"/v1/projects/{project_id}/autolabels", json=changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.http.get(f"/v1/projects/{project_id}/autolabels").json()["items"] == []


def test_without_a_model_and_for_other_tasks_it_is_refused(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 5)
    assert api.http.post(f"/v1/projects/{project_id}/autolabels", json={}).status_code == 409
    numbers = api.project(task={"type": "regression"})
    answer = api.http.post(f"/v1/projects/{numbers}/autolabels", json={})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "conflict")


def test_scopes(api: Api) -> None:
    project_id = trained(api)
    job = ask(api, project_id, dry_run=True)
    path = job["links"]["autolabel"]
    assert api.http.get(path, headers=api.key("read")).status_code == 200
    assert api.http.delete(path, headers=api.key("read")).status_code == 403
    assert api.http.post(f"/v1/projects/{project_id}/autolabels", json={}, headers=api.key("read")).status_code == 403
    assert api.http.delete(path, headers=api.key("label:write")).status_code == 403  # an annotator's key
    assert api.http.delete(path, headers=api.key("project:write")).status_code == 202


def test_names_of_groups_are_nobody_elses(api: Api) -> None:
    path = f"/v1/projects/{api.project()}"
    program = {"name": "aut_x", "url": "https://example.com/"}
    for answer in (
        api.http.post(f"{path}/annotators", json=program),
        api.http.post(f"{path}/queries", json={"k": 1, "annotator": "aut_x"}),
        api.http.get(f"{path}/next?annotator=aut_x"),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "reserved_name")


def test_a_paused_project_labels_nothing(api: Api) -> None:
    project_id = trained(api)
    job = ask(api, project_id)
    api.http.patch(f"/v1/projects/{project_id}", json={"paused": True}, headers={"If-Match": "*"})
    answer = api.http.post(f"/v1/projects/{project_id}/autolabels", json=WISH)
    assert answer.json()["type"].rpartition("/")[2] == "project-paused"
    drain(api.runtime)
    assert api.http.get(job["links"]["autolabel"]).json()["state"] == "failed"
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels"]["automated"] == 0
