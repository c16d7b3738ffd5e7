import pytest

from tests.support.runtime import Api

pytestmark = pytest.mark.any_database


def test_a_wrong_method_is_told_every_right_one(api: Api) -> None:
    project_id = api.project()
    for path, allowed in (
        (f"/v1/projects/{project_id}", "DELETE, GET, HEAD, PATCH"),
        (f"/v1/projects/{project_id}/examples", "GET, HEAD, POST"),
        (f"/v1/projects/{project_id}/examples/a/b", "DELETE, GET, HEAD, PATCH"),
        ("/livez", "GET, HEAD"),
    ):
        for method in ("OPTIONS", "PUT", "TRACE"):
            answer = api.http.request(method, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, allowed), (method, path)


def test_head_is_get_without_its_body(api: Api) -> None:
    project = f"/v1/projects/{api.project()}"
    for path in (project, f"{project}/labels", f"{project}/jobs/none", "/livez", "/openapi.json", "/v1/nothing"):
        for accept in ("application/json", "text/csv"):
            got = api.http.get(path, headers={"Accept": accept})
            head = api.http.head(path, headers={"Accept": accept})
            assert (head.status_code, head.content) == (got.status_code, b""), path
            assert head.headers.get("Content-Length") == got.headers.get("Content-Length")
            assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert api.http.head(f"{project}/queries").status_code == 405


def test_no_body_is_sent_to_an_action_that_takes_none(api: Api) -> None:
    new = {"url": "https://93.184.215.14/", "events": ["training.succeeded"]}
    webhook_id = api.http.post("/v1/webhooks", json=new).json()["id"]
    base = f"/v1/webhooks/{webhook_id}"
    delivery_id = api.http.post(f"{base}/test", json={}).json()["id"]
    for path in (f"{base}/test", f"{base}/rotate-secret", f"{base}/deliveries/{delivery_id}/redeliver"):
        answer = api.http.post(path, json={"delay": 3})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/delay"), path


def test_a_filter_value_of_a_wrong_type_is_one_error(api: Api) -> None:
    path = f"/v1/projects/{api.project()}/queries"
    values: tuple[object, ...] = (None, ["a"], {})
    for value in values:
        problem = api.http.post(path, json={"k": 1, "filter": {"x": value}}).json()
        assert [error["pointer"] for error in problem["errors"]] == ["/filter/x"], problem


def test_a_kind_of_committee_needs_a_committee(api: Api) -> None:
    path = f"/v1/projects/{api.project()}"
    for committee, status in ((None, 422), (0, 422), (2, 200)):
        given = {} if committee is None else {"committee": committee}
        params = {"committee_of": "estimators", **given}
        answer = api.http.patch(path, json={"estimator": {"params": params}}, headers={"If-Match": "*"})
        assert answer.status_code == status, answer.text


def test_what_is_known_is_told(api: Api) -> None:
    project_id = api.project()
    row = {"id": "a", "vector": [0, 1], "label": "z"}
    problem = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [row]}).json()
    assert problem["errors"][0]["detail"] == "Known classes: a, b."


def test_a_section_is_no_null_and_a_share_no_boolean(api: Api) -> None:
    path = f"/v1/projects/{api.project()}"
    for body in ({"task": None}, {"holdout_fraction": None}, {"holdout_fraction": False}, {"holdout_fraction": "0.1"}):
        assert api.http.patch(path, json=body, headers={"If-Match": "*"}).status_code == 422, body
    assert api.http.patch(path, json={"holdout_fraction": 0}, headers={"If-Match": "*"}).status_code == 200
