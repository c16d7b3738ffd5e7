"""A paused project begins nothing and loses nothing."""

from typing import Any

import pytest

from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import query
from workers.jobs.pool import pin_then_read


def pause(api: Api, project_id: str, *, paused: bool = True) -> None:
    answer = api.http.patch(f"/v1/projects/{project_id}", json={"paused": paused}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["paused"] is paused


def states(api: Api, project_id: str, kind: str) -> list[str]:
    items = api.http.get(f"/v1/projects/{project_id}/jobs?kind={kind}").json()["items"]
    return [job["state"] for job in items]


def refused(answer: Any) -> bool:
    kind: str = answer.json()["type"]
    return bool(answer.status_code == 409) and kind.endswith("/problems/project-paused")


def test_nothing_begins_and_the_answer_says_how_to_go_on(api: Api) -> None:
    project_id = api.project(paused=True)
    add_examples(api, project_id, 5)
    base = f"/v1/projects/{project_id}"
    for answer in (
        api.http.post(f"{base}/queries", json={"k": 2}),
        api.http.post(f"{base}/trainings"),
        api.http.get(f"{base}/next"),
    ):
        assert refused(answer)
        assert '{"paused": false}' in answer.json()["detail"]
    assert api.http.get(f"{base}/jobs").json()["items"] == []
    assert api.http.get(base).json()["paused"] is True


def test_labels_are_taken_and_their_training_is_made_up_for(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 4})
    add_examples(api, project_id, 20)
    pause(api, project_id)
    answer = add_labels(api, project_id, range(10))
    assert (answer["created"], answer["training"]) == (10, {"job_id": None, "labels_until_next": None})
    drain(api.runtime)
    assert states(api, project_id, "training") == []
    pause(api, project_id, paused=False)
    drain(api.runtime)
    assert states(api, project_id, "training") == ["succeeded"]
    assert api.http.get(f"/v1/projects/{project_id}/models/1").json()["labels_used"] == 10


def test_what_waits_is_cancelled_and_a_batch_on_its_way_is_refused(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 9)
    held = batch(api, project_id, k=2, annotator="ann")
    api.http.get(f"/v1/projects/{project_id}/next")
    waiting = ask(api, project_id, k=2)
    api.http.post(f"/v1/projects/{project_id}/trainings")
    pause(api, project_id)
    assert states(api, project_id, "query") == ["cancelled", "cancelled", "succeeded"]
    assert states(api, project_id, "training") == ["cancelled"]
    assert api.http.get(f"/v1/jobs/{waiting}/batch").status_code == 409
    drain(api.runtime)
    assert len(api.http.get(f"/v1/jobs/{held['job_id']}/batch").json()["items"]) == 2
    renewed = api.http.post(f"/v1/jobs/{held['job_id']}/batch/renew", json={"lease_seconds": 60})
    assert renewed.json()["changed"] == 2  # what was promised stays promised
    pause(api, project_id, paused=False)
    assert api.http.get(f"/v1/projects/{project_id}/next").status_code == 202
    drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}/next").status_code == 200


def test_a_query_that_ranks_while_the_project_is_paused_takes_no_lease(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 9)
    job_id = ask(api, project_id, k=2, annotator="ann")

    def overtaken(*given: Any) -> Any:
        loaded = pin_then_read(*given)
        pause(api, project_id)
        return loaded

    monkeypatch.setattr(query, "pin_then_read", overtaken)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["error"]["type"].rpartition("/")[2]) == ("failed", "project-paused")
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 0
