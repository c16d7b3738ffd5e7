"""One example at a time, from a prepared ranking."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from service.db.tables import Batch, Job, Lease
from tests.support.bodies import label, points, upload
from tests.support.pools import add_examples, batch
from tests.support.runtime import Api
from tests.support.working import drain

Response = Any


def ask(api: Api, project_id: str, annotator: str | None = "alice") -> Response:
    """The answer to whoever asks for an example; rankings are made only by `drain`."""
    name = {} if annotator is None else {"annotator": annotator}
    return api.http.get(f"/v1/projects/{project_id}/next", params=name)


def prepared(api: Api, count: int, **changes: Any) -> str:
    """A project whose first ranking is ready."""
    project_id = api.project(retraining={"automatic": False}, **changes)
    add_examples(api, project_id, count)
    assert ask(api, project_id).status_code == 202
    drain(api.runtime)
    return project_id


def answer(api: Api, project_id: str, item: dict[str, Any], annotator: str = "alice") -> None:
    """Label what was given."""
    row = {"example_id": item["example_id"], "label": "a", "annotator": annotator, "batch_id": item["job_id"]}
    assert label(api, project_id, row).json()["created"] == 1


def queries(api: Api, project_id: str) -> int:
    return len(api.http.get(f"/v1/projects/{project_id}/jobs?kind=query").json()["items"])


def test_the_first_to_ask_is_told_when_to_come_back_and_then_gets_the_best(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    rows = [{"id": f"e{n}", "vector": [float(n), 1.0], "data": {"text": f"text {n}"}} for n in range(8)]
    upload(api, project_id, rows)
    first = ask(api, project_id)
    assert first.status_code == 202
    assert first.headers["Retry-After"] == "1"
    assert first.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    assert ask(api, project_id, "bob").json()["id"] == first.json()["id"]  # one ranking serves all
    drain(api.runtime)
    given = ask(api, project_id)
    assert given.status_code == 200
    item = given.json()
    ranked = api.http.get(f"/v1/jobs/{item['job_id']}/batch").json()
    assert item["rank"] == 1
    assert item["example_id"] == ranked["items"][0]["example_id"]
    assert item["data"] == {"text": f"text {item['example_id'][1:]}"}
    assert item["lease"]["annotator"] == "alice"
    for name in ("project_id", "created_at", "strategy", "model", "pool"):
        assert item[name] == ranked[name]
    assert item["exhausted"] is False  # the end is a 204
    assert item["reason"] == ranked["items"][0]["reason"]


def test_the_same_annotator_gets_the_same_until_it_is_labelled_and_others_get_others(api: Api) -> None:
    project_id = prepared(api, 5)
    mine = ask(api, project_id).json()
    assert ask(api, project_id).json() == mine
    theirs = ask(api, project_id, "bob").json()
    assert theirs["example_id"] != mine["example_id"]
    nameless = [ask(api, project_id, None).json()["example_id"] for _ in range(2)]
    assert len({mine["example_id"], theirs["example_id"], *nameless}) == 4
    answer(api, project_id, mine)
    assert ask(api, project_id).json()["example_id"] not in {mine["example_id"], theirs["example_id"], *nameless}


def test_the_pool_is_exhausted_once_and_for_all_until_something_comes_in(api: Api) -> None:
    project_id = prepared(api, 4)
    for _ in range(4):
        answer(api, project_id, ask(api, project_id).json())
    for _ in range(3):
        assert ask(api, project_id).status_code == 204
    assert queries(api, project_id) == 1
    upload(api, project_id, points(1, first=90))
    assert ask(api, project_id).status_code == 202
    drain(api.runtime)
    assert ask(api, project_id).json()["example_id"] == "e90"


def test_what_is_leased_to_others_comes_back_when_it_ran_out_or_is_released(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 3)
    held = batch(api, project_id, k=2, annotator="bob")
    ask(api, project_id)
    drain(api.runtime)
    answer(api, project_id, ask(api, project_id).json())
    assert ask(api, project_id).status_code == 204
    released = held["items"][1]["example_id"]
    api.http.post(f"/v1/jobs/{held['job_id']}/batch/release", json={"example_ids": [released]})
    assert ask(api, project_id).json()["example_id"] == released
    with api.runtime.database.write() as session:
        session.execute(update(Lease).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert {ask(api, project_id, name).json()["example_id"] for name in ("alice", "carol")} == {
        item["example_id"] for item in held["items"]
    }


def test_the_next_ranking_is_made_before_this_one_is_used_up_and_once_there_is_a_model(api: Api) -> None:
    project_id = prepared(api, 130)
    for number in range(50):
        assert queries(api, project_id) == 1, number
        item = ask(api, project_id).json()
        row = {"example_id": item["example_id"], "label": "ab"[number % 2], "annotator": "alice"}
        label(api, project_id, row)
    first = ask(api, project_id).json()
    assert queries(api, project_id) == 2
    answer(api, project_id, first)
    drain(api.runtime)
    second = ask(api, project_id).json()
    assert second["job_id"] != first["job_id"]
    answer(api, project_id, second)
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    assert ask(api, project_id).json()["model"] is None  # what is ready is given, and better asked for
    drain(api.runtime)
    assert ask(api, project_id, "bob").json()["model"]["version"] == 1


def test_with_overlap_everybody_labels_everything_once(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, annotation={"overlap": 2, "lease_seconds": 60})
    add_examples(api, project_id, 3)
    for name in ("alice", "bob"):
        ask(api, project_id, name)
        drain(api.runtime)
        given = []
        for _ in range(3):
            item = ask(api, project_id, name).json()
            answer(api, project_id, item, name)
            given.append(item["example_id"])
        assert set(given) == {"e0", "e1", "e2"}
        assert ask(api, project_id, name).status_code == 204
    ask(api, project_id, "carol")
    drain(api.runtime)
    assert ask(api, project_id, "carol").status_code == 204


def test_with_overlap_who_tells_no_name_labels_everything_once_too(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, annotation={"overlap": 2, "lease_seconds": 60})
    add_examples(api, project_id, 3)
    ask(api, project_id, None)
    drain(api.runtime)
    given = []
    for _ in range(3):
        given.append(ask(api, project_id, None).json()["example_id"])
        label(api, project_id, {"example_id": given[-1], "label": "a"})
    assert set(given) == {"e0", "e1", "e2"}
    assert ask(api, project_id, None).status_code == 204
    assert batch(api, project_id, k=3)["items"] == []
    assert len(batch(api, project_id, k=3, annotator="alice")["items"]) == 3


def test_a_ranking_that_failed_is_told_and_made_again_later(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 3)
    job_id = ask(api, project_id).json()["id"]
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    second = ask(api, project_id).json()["id"]
    assert second != job_id
    with api.runtime.database.write() as session:
        session.execute(update(Job).where(Job.id == second).values(state="failed", finished_at=datetime.now(UTC)))
    refused = ask(api, project_id)
    assert (refused.status_code, refused.headers["Retry-After"]) == (409, "10")
    assert second in refused.json()["detail"]
    with api.runtime.database.write() as session:
        earlier = datetime.now(UTC) - timedelta(seconds=11)
        session.execute(update(Job).where(Job.id == second).values(finished_at=earlier))
    assert ask(api, project_id).status_code == 202


def test_what_changed_or_went_since_the_ranking_is_not_given(api: Api) -> None:
    project_id = prepared(api, 4)
    api.http.delete(f"/v1/projects/{project_id}/examples/e0")
    upload(api, project_id, [{"id": "e1", "vector": [9.0, 9.0]}])
    label(api, project_id, {"example_id": "e2", "skip": True})
    assert ask(api, project_id).json()["example_id"] == "e3"
    drain(api.runtime)
    assert ask(api, project_id, "bob").json()["example_id"] == "e1"


def test_examples_without_a_prediction_are_no_end_of_the_pool(api: Api) -> None:
    project_id = api.project(features={"type": "none"})
    upload(api, project_id, [{"id": f"e{n}"} for n in range(3)])
    path = f"/v1/projects/{project_id}"
    rows = [{"id": "e0", "probabilities": [0.5, 0.5]}]
    assert api.http.post(f"{path}/predictions?model=mine", json={"predictions": rows}).status_code == 200
    assert api.http.post(f"{path}/models/1/activate", json={}).status_code == 200
    api.http.patch(path, json={"query": {"strategy": "margin"}}, headers={"If-Match": "*"})
    assert ask(api, project_id).status_code == 202
    drain(api.runtime)
    answer(api, project_id, ask(api, project_id).json())
    refused = ask(api, project_id)
    assert (refused.status_code, refused.headers["Retry-After"]) == (409, "10")
    with api.runtime.database.write() as session:
        session.execute(update(Batch).values(created_at=datetime.now(UTC) - timedelta(seconds=11)))
    assert ask(api, project_id).status_code == 202


def test_bad_requests_for_an_example(api: Api) -> None:
    project_id = api.project(query={"strategy": "label_errors"})
    assert ask(api, project_id).status_code == 409
    assert ask(api, "prj_none").status_code == 404
    assert ask(api, project_id, "").status_code == 422
    readers = api.http.get(f"/v1/projects/{project_id}/next", headers=api.key("read"))
    assert readers.status_code == 403
    with api.runtime.database.read() as session:
        assert session.scalars(select(Lease)).all() == []
