import csv
import io
import time
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import delete, func, select

from service.api.deps.runtime import utc_now
from service.db.tables import Batch, BatchItem, Example, Job, LabelHistory, Lease
from tests.support.bodies import candidates, counts, examples, label, points, upload
from tests.support.runtime import Api


@pytest.fixture
def project_id(api: Api) -> str:
    made = api.project()
    upload(api, made, points(6))
    return made


def listed(api: Api, project_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.http.get(f"/v1/projects/{project_id}/labels").json()["items"]
    return items


def history(api: Api, project_id: str) -> list[tuple[str | None, bool]]:
    query = select(LabelHistory.value, LabelHistory.skip).where(LabelHistory.project_id == project_id)
    with api.runtime.database.read() as session:
        return [(value, skip) for value, skip in session.execute(query.order_by(LabelHistory.id))]


def batch(api: Api, project_id: str, *ids: str, annotator: str | None = None) -> str:
    """A batch that leases examples, as a query leaves it."""
    now = utc_now()
    job_id = f"job_{annotator or 'nobody'}"
    holder = f"annotator:{annotator}" if annotator else job_id
    with api.runtime.database.write() as session:
        session.add(Job(id=job_id, project_id=project_id, kind="query", queue="q", state="succeeded", payload={},
                        created_at=now))  # fmt: skip
        session.flush()
        session.add(Batch(job_id=job_id, project_id=project_id, created_at=now, body=orjson.dumps({}), etag="e", size=1,
                          strategy="margin", seed=7, model_version=3, row_high_water=6, mask_hash=""))  # fmt: skip
        session.flush()
        for rank, example_id in enumerate(ids, start=1):
            session.add(BatchItem(job_id=job_id, example_id=example_id, rank=rank, propensity=0.25))
            session.add(Lease(project_id=project_id, example_id=example_id, holder=holder, annotator=annotator,
                              job_id=job_id, row=0, expires_at=now + timedelta(hours=1)))  # fmt: skip
    return job_id


def leases(api: Api) -> set[tuple[str, str]]:
    with api.runtime.database.read() as session:
        return {(example_id, holder) for example_id, holder in session.execute(select(Lease.example_id, Lease.holder))}


def test_an_answer_given_again_counts_as_a_change_when_it_decides_a_tie(api: Api, project_id: str) -> None:
    def since(row: dict[str, Any]) -> int:
        label(api, project_id, row)
        return int(counts(api, project_id)["labels_since_model"])

    alice, bob = ({"example_id": "e0", "label": name, "annotator": name} for name in "ab")
    assert since(alice) == 1
    assert since(alice) == 1  # alone, it changes nothing
    assert since(bob) == 2
    assert since(alice) == 3  # the newest of a tie wins: e0 is `a` again
    assert since({**alice, "labeled_at": "2026-01-01T10:00:00Z"}) == 3  # an old one that came late
    assert since({**bob, "source": "automated"}) == 4  # now `b` is the newest, said by a program


def test_a_label_is_created_repeated_and_changed(api: Api, project_id: str) -> None:
    row = {"example_id": "e0", "label": "a", "annotator": "alice"}
    first = label(api, project_id, row).json()
    assert (first["created"], first["training"]) == (1, {"job_id": None, "labels_until_next": 9})
    assert label(api, project_id, row).json()["unchanged"] == 1
    changed = label(api, project_id, {**row, "label": "b"}).json()
    assert (changed["updated"], changed["training"]["labels_until_next"]) == (1, 8)
    (kept,) = listed(api, project_id)
    assert (kept["label"], kept["annotator"], kept["strategy"]) == ("b", "alice", None)
    assert history(api, project_id) == [("a", False)]
    assert counts(api, project_id)["labels_since_model"] == 2


def test_an_older_answer_never_overwrites_a_newer_one(api: Api, project_id: str) -> None:
    def said(value: str, at: str) -> dict[str, Any]:
        row = {"example_id": "e0", "label": value, "annotator": "alice", "labeled_at": at}
        answer: dict[str, Any] = label(api, project_id, row).json()
        return answer

    assert said("a", "2026-01-01T10:00:00Z")["created"] == 1
    assert said("b", "2026-01-01T09:00:00Z")["unchanged"] == 1
    assert said("a", "2026-01-01T14:00:00+02:00")["unchanged"] == 1
    assert said("b", "2026-01-01T11:00:00Z")["unchanged"] == 1
    assert listed(api, project_id)[0]["label"] == "a"
    assert said("b", "2026-01-01T13:00:00Z")["updated"] == 1
    assert listed(api, project_id)[0]["labeled_at"] == "2026-01-01T13:00:00Z"


def test_annotators_have_labels_of_their_own_up_to_overlap(api: Api) -> None:
    project_id = api.project(annotation={"overlap": 2})
    upload(api, project_id, points(2))
    label(api, project_id, {"example_id": "e0", "label": "a", "annotator": "alice"})
    assert candidates(api, project_id) == [0, 1]
    label(api, project_id, {"example_id": "e0", "skip": True, "annotator": "carol"})
    assert candidates(api, project_id) == [0, 1]
    label(api, project_id, {"example_id": "e0", "label": "b", "annotator": "bob"})
    assert candidates(api, project_id) == [1]
    found = counts(api, project_id)
    assert (found["examples"]["labeled"], found["examples"]["skipped"], found["labels"]["total"]) == (1, 0, 2)


def test_a_skip_takes_the_example_out_and_a_label_replaces_it(api: Api, project_id: str) -> None:
    label(api, project_id, {"example_id": "e0", "skip": True})
    found = counts(api, project_id)
    assert (found["examples"]["skipped"], found["labels"]["total"], found["labels_since_model"]) == (1, 0, 0)
    assert candidates(api, project_id) == [1, 2, 3, 4, 5]
    assert label(api, project_id, {"example_id": "e0", "label": "a"}).json()["updated"] == 1
    found = counts(api, project_id)
    assert (found["examples"]["skipped"], found["examples"]["labeled"], found["labels_since_model"]) == (0, 1, 1)
    assert label(api, project_id, {"example_id": "e0", "skip": True}).json()["updated"] == 1
    found = counts(api, project_id)
    assert (found["examples"]["skipped"], found["labels"]["total"], found["labels_since_model"]) == (1, 0, 2)
    assert history(api, project_id) == [(None, True), ("a", False)]


def test_sources_are_counted_apart_and_a_person_confirms_a_program(api: Api, project_id: str) -> None:
    label(
        api, project_id, {"example_id": "e0", "label": "a", "source": "automated"}, {"example_id": "e1", "label": "b"}
    )
    assert counts(api, project_id)["labels"] == {"total": 2, "human": 1, "automated": 1}
    assert label(api, project_id, {"example_id": "e0", "label": "a"}).json()["updated"] == 1
    assert counts(api, project_id)["labels"] == {"total": 2, "human": 2, "automated": 0}
    assert counts(api, project_id)["labels_since_model"] == 2


def test_a_deleted_label_gives_its_example_back(api: Api, project_id: str) -> None:
    label(api, project_id, {"example_id": "e0", "label": "a"})
    (kept,) = listed(api, project_id)
    path = f"/v1/projects/{project_id}/labels/{kept['id']}"
    other = api.project()
    assert api.http.delete(path.replace(project_id, other)).status_code == 404
    assert api.http.delete(path).status_code == 204
    assert api.http.delete(path).status_code == 404
    assert listed(api, project_id) == []
    assert candidates(api, project_id) == [0, 1, 2, 3, 4, 5]
    assert examples(api, project_id)["e0"]["status"] == "unlabeled"
    assert history(api, project_id) == [("a", False)]
    found = counts(api, project_id)
    assert (found["labels"]["total"], found["labels_since_model"]) == (0, 2)


def test_bad_rows_of_the_project_are_named(api: Api, project_id: str) -> None:
    rows: list[dict[str, Any]] = [
        {"example_id": "e0", "label": "a"},
        {"example_id": "gone", "label": "a"},
        {"example_id": "e1", "label": "c"},
        {"example_id": "e2", "label": ["a"]},
        {"example_id": "e3", "label": 1},
        {"example_id": "e4", "label": "a", "batch_id": "job_x"},
        {"example_id": "e0", "label": "b"},
        {"example_id": "e0", "label": "b", "annotator": "bob"},
    ]
    refused = label(api, project_id, *rows)
    assert (refused.status_code, refused.json()["rejected"]) == (422, 4)  # what needs no look at the pool comes first
    assert listed(api, project_id) == []
    answer = label(api, project_id, *rows, mode="partial").json()
    assert [(error["line"], error["id"], error["pointer"], error["code"]) for error in answer["errors"]] == [
        (2, "gone", "/example_id", "unknown_example"),
        (3, "e1", "/label", "unknown_class"),
        (4, "e2", "/label", "wrong_type"),
        (5, "e3", "/label", "wrong_type"),
        (6, "e4", "/batch_id", "unknown_batch"),
        (7, "e0", "/example_id", "duplicate"),
    ]
    assert (answer["received"], answer["created"], answer["rejected"]) == (8, 2, 6)


def test_an_unknown_example_alone_stores_nothing(api: Api, project_id: str) -> None:
    refused = label(api, project_id, {"example_id": "e0", "label": "a"}, {"example_id": "gone", "label": "a"})
    body = refused.json()
    assert (refused.status_code, body["received"], body["rejected"]) == (422, 2, 1)
    assert body["errors"][0]["code"] == "unknown_example"
    assert '"unknown_example"' in api.http.get(body["errors_url"]).text
    assert listed(api, project_id) == []
    assert counts(api, project_id)["labels_since_model"] == 0


def test_labels_end_the_leases_that_they_were_made_under(api: Api) -> None:
    project_id = api.project(annotation={"overlap": 2})
    upload(api, project_id, points(4))
    mine = batch(api, project_id, "e0", "e1", annotator="alice")
    nobodys = batch(api, project_id, "e0", "e1", "e2")
    label(api, project_id, {"example_id": "e0", "label": "a", "annotator": "alice"})
    assert ("e0", "annotator:alice") not in leases(api)
    assert ("e0", nobodys) in leases(api)
    label(api, project_id, {"example_id": "e1", "label": "a", "annotator": "bob", "batch_id": nobodys})
    assert {lease for lease in leases(api) if lease[0] == "e1"} == {("e1", "annotator:alice")}
    label(api, project_id, {"example_id": "e2", "skip": True})
    assert {lease for lease in leases(api) if lease[0] == "e2"} == set()
    # the second label is the last one that e1 needs
    label(api, project_id, {"example_id": "e1", "label": "b", "annotator": "dora", "batch_id": mine})
    assert leases(api) == {("e0", nobodys)}
    assert examples(api, project_id)["e1"]["status"] == "labeled"


def test_exports_say_how_each_label_came_about(api: Api, project_id: str) -> None:
    job_id = batch(api, project_id, "e0")
    label(api, project_id, {"example_id": "e0", "label": "a", "batch_id": job_id})
    time.sleep(0.002)  # ids sort by the millisecond
    label(api, project_id, {"example_id": "e1", "skip": True})
    path = f"/v1/projects/{project_id}/labels"
    rows = [orjson.loads(line) for line in api.http.get(path, headers={"Accept": "application/x-ndjson"}).iter_lines()]
    assert rows == listed(api, project_id)
    provenance = {name: rows[0][name] for name in ("batch_id", "strategy", "seed", "model_version", "propensity")}
    assert provenance == {"batch_id": job_id, "strategy": "margin", "seed": 7, "model_version": 3, "propensity": 0.25}
    text = api.http.get(path, headers={"Accept": "text/csv"})
    table = list(csv.DictReader(io.StringIO(text.text)))
    assert [(row["example_id"], row["label"], row["skip"], row["propensity"]) for row in table] == [
        ("e0", "a", "false", "0.25"),
        ("e1", "", "true", ""),
    ]
    assert api.http.get(path, headers={"Accept": "image/png"}).status_code == 406
    missing = path.replace(project_id, "prj_none")
    assert api.http.get(missing, headers={"Accept": "text/csv"}).status_code == 404


def test_pages_and_whole_exports_hold_every_label(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    upload(api, project_id, points(2500, label="a"))
    path = f"/v1/projects/{project_id}/labels"
    token, ids = None, []
    while True:
        page = api.http.get(path, params={"page_size": 1000, **({"page_token": token} if token else {})}).json()
        ids += [item["example_id"] for item in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert sorted(ids) == sorted(f"e{i}" for i in range(2500))
    whole = api.http.get(path, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [orjson.loads(line)["example_id"] for line in whole] == ids


def test_a_label_whose_example_is_gone_neither_shortens_nor_ends_a_list(api: Api, project_id: str) -> None:
    label(api, project_id, *({"example_id": f"e{n}", "label": "a"} for n in range(6)))
    left = [item["example_id"] for item in listed(api, project_id)]
    gone = [left.pop(place) for place in (3, 1, 0)]
    with api.runtime.database.write() as session:
        session.execute(delete(Example).where(Example.example_id.in_(gone)))
    path = f"/v1/projects/{project_id}/labels"
    first = api.http.get(path, params={"page_size": 2}).json()
    second = api.http.get(path, params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [[item["example_id"] for item in page["items"]] for page in (first, second)] == [left[:2], left[2:]]
    assert second["next_page_token"] is None
    whole = api.http.get(path, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [orjson.loads(line)["example_id"] for line in whole] == left


def test_ten_labels_start_a_training_and_more_wait_for_it(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(12))
    rows = [{"example_id": f"e{i}", "label": "ab"[i % 2]} for i in range(12)]
    note = label(api, project_id, *rows[:10]).json()["training"]
    assert note["job_id"] is not None
    again = label(api, project_id, rows[10]).json()["training"]
    assert again["job_id"] == note["job_id"]


def test_a_csv_body_and_a_large_body_are_one_transaction(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    upload(api, project_id, points(3000))
    rows = ["example_id,label,skip,annotator,labeled_at"]
    rows += [f"e{i},a,,alice,2026-02-03T04:05:06Z" for i in range(2998)]
    body = "\n".join([*rows, "e2998,,true,,", "e9999,a,,,"])
    path = f"/v1/projects/{project_id}/labels"
    headers = {"Content-Type": "text/csv"}
    refused = api.http.post(path, content=body, headers=headers)
    assert (refused.status_code, refused.json()["rejected"]) == (422, 1)
    assert counts(api, project_id)["labels"]["total"] == 0
    assert len(candidates(api, project_id)) == 3000
    answer = api.http.post(f"{path}?mode=partial", content=body, headers=headers).json()
    assert (answer["created"], answer["rejected"], answer["errors"][0]["line"]) == (2999, 1, 3001)
    assert candidates(api, project_id) == [2999]
    assert datetime.fromisoformat(listed(api, project_id)[0]["labeled_at"]).year == 2026
    with api.runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(LabelHistory)) == 0


def test_other_projects_cannot_be_labelled(api: Api, project_id: str) -> None:
    bound = api.key("admin", project_id=api.project())
    body = {"labels": [{"example_id": "e0", "label": "a"}]}
    assert api.http.post(f"/v1/projects/{project_id}/labels", json=body, headers=bound).status_code == 404
    assert api.http.get(f"/v1/projects/{project_id}/labels", headers=bound).status_code == 404
    assert listed(api, project_id) == []
