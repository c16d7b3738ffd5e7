import base64
import gzip
from typing import Any

import numpy as np
import pytest

from service.actions import bulk
from service.api.deps.runtime import utc_now
from service.db.tables import Pool
from tests.support.bodies import candidates, counts, examples, label, lines, points, upload, vectors
from tests.support.runtime import Api


def test_the_same_rows_in_every_form_are_the_same_examples(api: Api) -> None:
    packed = base64.b64encode(np.array([0.5, 2.0], dtype="<f4").tobytes()).decode()
    project_id = api.project()
    path = f"/v1/projects/{project_id}/examples"
    bodies: list[tuple[str, bytes, dict[str, str]]] = [
        ("application/json", b'{"examples": [{"id": "a", "vector": [0.5, 2], "data": {"text": "x"}}]}', {}),
        ("application/x-ndjson", lines([{"id": "a", "vector": packed, "data": {"text": "x"}}]), {}),
        ("text/csv", f"id,vector,text\na,{packed},x\n".encode(), {}),
        ("text/csv; charset=utf-8", gzip.compress(b"id,x0,x1,text\na,0.5,2,x\n"), {"Content-Encoding": "gzip"}),
    ]
    answers = [
        api.http.post(path, content=body, headers={"Content-Type": media, **more}).json()
        for media, body, more in bodies
    ]
    assert [(answer["created"], answer["unchanged"]) for answer in answers] == [(1, 0), (0, 1), (0, 1), (0, 1)]
    assert vectors(api, project_id) == {0: [0.5, 2.0]}


def test_new_features_take_a_new_row_and_other_content_keeps_it(api: Api) -> None:
    project_id = api.project()
    assert upload(api, project_id, points(3)).json()["created"] == 3
    label(api, project_id, {"example_id": "e1", "label": "a"})
    changed: list[dict[str, Any]] = [
        {"id": "e0", "vector": [9.0, 9.0]},
        {"id": "e1", "vector": [8.0, 8.0]},
        {"id": "e2", "vector": [2.0, 1.0], "data": {"note": "new"}, "priority": 2},
    ]
    answer = upload(api, project_id, changed).json()
    assert (answer["updated"], answer["created"], answer["unchanged"]) == (3, 0, 0)
    # e0 moved to row 3; e1, which is labelled, to row 4; e2 stays
    assert vectors(api, project_id) == {2: [2.0, 1.0], 3: [9.0, 9.0], 4: [8.0, 8.0]}
    assert candidates(api, project_id) == [2, 3]
    assert examples(api, project_id)["e2"]["data"] == {"note": "new"}
    assert examples(api, project_id)["e1"]["labels"][0]["label"] == "a"


def test_test_rows_are_never_candidates(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, [*points(1), *points(1, first=1, split="test"), *points(1, first=2)])
    assert candidates(api, project_id) == [0, 2]
    upload(api, project_id, [*points(1, split="test"), *points(1, first=1)])
    assert candidates(api, project_id) == [1, 2]


def test_a_label_in_a_row_is_a_label(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(2, label="b", annotator="ann"))
    assert counts(api, project_id)["examples"]["labeled"] == 2
    assert candidates(api, project_id) == []
    assert upload(api, project_id, points(2, label="a", annotator="ann")).json()["unchanged"] == 2
    (kept,) = examples(api, project_id)["e1"]["labels"]
    assert (kept["label"], kept["annotator"], kept["source"]) == ("a", "ann", "human")
    assert counts(api, project_id)["labels"] == {"total": 2, "human": 2, "automated": 0}


def test_partial_stores_the_good_rows_and_lists_the_bad_ones(api: Api) -> None:
    project_id = api.project()
    rows = points(300)
    for row in rows[::2]:
        row["vector"] = [1.0]
    answer = upload(api, project_id, rows, mode="partial").json()
    assert (answer["received"], answer["created"], answer["rejected"]) == (300, 150, 150)
    assert (len(answer["errors"]), answer["errors_truncated"]) == (100, True)
    assert answer["errors"][1] == {
        "line": 3,
        "id": "e2",
        "pointer": "/vector",
        "code": "wrong_dimensions",
        "detail": "Expected 2 numbers, or base64 of 8 bytes.",
    }
    whole = api.http.get(answer["errors_url"])
    assert whole.headers["content-type"] == "application/x-ndjson"
    assert len(whole.text.splitlines()) == 150
    assert set(examples(api, project_id)) == {f"e{i}" for i in range(1, 300, 2)}


def test_an_errors_list_is_of_its_project_and_ends(api: Api) -> None:
    project_id, other = api.project(), api.project()
    url = upload(api, project_id, [{"id": "a"}], mode="partial").json()["errors_url"]
    assert api.http.get(url.replace(project_id, other)).status_code == 404
    with api.runtime.write() as session:
        assert bulk.forget_error_lists(session, now=utc_now()) == 0
        assert bulk.forget_error_lists(session, now=utc_now() + 2 * bulk.KEPT) == 1
    assert api.http.get(url).status_code == 404
    assert list(api.runtime.objects.list("errors/")) == []


def test_text_projects_take_texts_and_no_vectors(api: Api) -> None:
    project_id = api.project(features={"type": "text", "field": "body"})
    rows: list[dict[str, Any]] = [
        {"id": "good", "data": {"body": "hello"}},
        {"id": "none"},
        {"id": "other", "data": {"text": "x"}},
        {"id": "number", "data": {"body": 7}},
        {"id": "vector", "data": {"body": "x"}, "vector": [1.0, 2.0]},
    ]
    answer = upload(api, project_id, rows, mode="partial").json()
    found = [(error["id"], error["pointer"], error["code"]) for error in answer["errors"]]
    assert found == [
        ("none", "/data/body", "missing_field"),
        ("other", "/data/body", "missing_field"),
        ("number", "/data/body", "wrong_type"),
        ("vector", "/vector", "unknown_field"),
    ]
    assert upload(api, project_id, [{"id": "good", "data": {"body": "hello", "n": 1}}]).json()["updated"] == 1
    assert candidates(api, project_id) == [0]
    assert upload(api, project_id, [{"id": "good", "data": {"body": "bye"}}]).json()["updated"] == 1
    assert candidates(api, project_id) == [1]


def test_pages_by_status(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(7))
    label(api, project_id, {"example_id": "e1", "label": "a"}, {"example_id": "e4", "skip": True})
    path = f"/v1/projects/{project_id}/examples"

    def ids(**query: Any) -> list[str]:
        return [item["id"] for item in api.http.get(path, params=query).json()["items"]]

    assert ids(status="labeled") == ["e1"]
    assert ids(status="skipped") == ["e4"]
    assert ids(status="leased") == []
    assert ids(status="unlabeled") == ["e0", "e2", "e3", "e5", "e6"]
    first = api.http.get(path, params={"status": "unlabeled", "page_size": 3}).json()
    second = api.http.get(
        path, params={"status": "unlabeled", "page_size": 3, "page_token": first["next_page_token"]}
    ).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ["e0", "e2", "e3", "e5", "e6"]
    assert second["next_page_token"] is None
    foreign = api.http.get(path, params={"page_token": first["next_page_token"]})
    assert foreign.status_code == 400


@pytest.mark.parametrize("example_id", ["plain", "a/b/c", "../up", "100% ü?#&", "with space", "a//b", "errors"])
def test_any_id_can_stand_in_a_path(api: Api, example_id: str) -> None:
    project_id = api.project()
    upload(api, project_id, [{"id": example_id, "vector": [1.0, 2.0]}])
    path = f"/v1/projects/{project_id}/examples/" + "".join(f"%{byte:02X}" for byte in example_id.encode())
    found = api.http.get(path)
    assert (found.status_code, found.json()["id"], found.json()["prediction"]) == (200, example_id, None)
    assert api.http.delete(path).status_code == 204
    assert api.http.get(path).status_code == 404


def test_a_deleted_example_leaves_a_hole_and_its_labels_go(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(3))
    label(api, project_id, {"example_id": "e0", "label": "a"}, {"example_id": "e1", "skip": True})
    for name in ("e0", "e1"):
        assert api.http.delete(f"/v1/projects/{project_id}/examples/{name}").status_code == 204
    found = counts(api, project_id)
    assert found["examples"] == {"total": 1, "unlabeled": 1, "labeled": 0, "leased": 0, "skipped": 0}
    assert found["labels"]["total"] == 0
    assert candidates(api, project_id) == [2]
    assert api.http.get(f"/v1/projects/{project_id}/labels").json()["items"] == []
    upload(api, project_id, points(1))
    assert vectors(api, project_id) == {2: [2.0, 1.0], 3: [0.0, 1.0]}
    assert candidates(api, project_id) == [2, 3]


def test_many_loose_vectors_ask_for_one_merge(api: Api) -> None:
    project_id = api.project()
    for first in range(0, 2700, 900):
        upload(api, project_id, points(900, first=first))
    upload(api, project_id, points(10, first=5000))
    jobs = api.http.get(f"/v1/projects/{project_id}/jobs", params={"kind": "merge"})
    with api.runtime.database.read() as session:
        pool = session.get_one(Pool, project_id)
        assert (pool.loose_vectors, pool.next_row, pool.examples) == (2710, 2710, 2710)
    assert jobs.status_code == 200
    assert len(jobs.json()["items"]) == 1


def test_a_repeated_upload_is_answered_once(api: Api) -> None:
    project_id = api.project()
    path = f"/v1/projects/{project_id}/examples"
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "once"}
    first = api.http.post(path, content=lines(points(3)), headers=headers)
    again = api.http.post(path, content=lines(points(3)), headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert again.json()["created"] == 3


def test_other_projects_are_not_there(api: Api) -> None:
    project_id, other = api.project(), api.project()
    upload(api, project_id, points(1))
    bound = api.key("admin", project_id=other)
    for method, path in (("GET", ""), ("GET", "/e0"), ("DELETE", "/e0")):
        answer = api.http.request(method, f"/v1/projects/{project_id}/examples{path}", headers=bound)
        assert answer.status_code == 404
    assert api.http.get(f"/v1/projects/{other}/examples/e0").status_code == 404
    assert counts(api, project_id)["examples"]["total"] == 1


def test_columns_of_csv_have_types_and_are_told(api: Api) -> None:
    project_id = api.project()
    body = b"id,x0,x1,n,share,yes,zip,label\n1,1,2,7,0.5,true,007,a\n2,1,3,,1,False,12,\n"
    answer = api.http.post(f"/v1/projects/{project_id}/examples", content=body, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["columns"] == {"n": "integer", "share": "number", "yes": "boolean", "zip": "text"}
    found = examples(api, project_id)
    assert found["1"]["data"] == {"n": 7, "share": 0.5, "yes": True, "zip": "007"}
    assert found["2"]["data"] == {"share": 1.0, "yes": False, "zip": "12"}
    assert upload(api, project_id, points(1)).json()["columns"] is None


def test_the_text_that_features_are_read_from_stays_text(api: Api) -> None:
    project_id = api.project(features={"type": "text", "field": "text"})
    body = b"id,text,n\na,1,1\nb,2,2\n"
    answer = api.http.post(f"/v1/projects/{project_id}/examples", content=body, headers={"Content-Type": "text/csv"})
    assert answer.json()["columns"] == {"text": "text", "n": "integer"}
    assert examples(api, project_id)["a"]["data"] == {"text": "1", "n": 1}
