from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.actions import calls, webhooks
from service.api.deps.runtime import utc_now
from service.db.tables import Annotator, AnnotatorCall, Delivery, Pool, Webhook
from service.security.sealing import Sealer
from tests.support.programs import (
    URL,
    answered,
    batch_in,
    calls_of,
    create,
    ids_in,
    labels_for,
    labels_of,
    next_parcel,
    path_of,
    project_with_program,
    right,
    sent,
    shown,
    step,
    wait,
)
from tests.support.runtime import Api, make_api


def test_create_read_change_delete(api: Api) -> None:
    project_id = api.project()
    made = create(api, project_id, max_cost=2.5)
    assert made.pop("secret").startswith("whsec_")
    assert (made["kind"], made["state"], made["labels_used"], made["call"]) == ("program", "active", 0, None)
    assert (made["batch_size"], made["max_labels"], made["max_cost"]) == (5, 1000, 2.5)
    base = f"/v1/projects/{project_id}/annotators"
    assert api.http.get(path_of(made)).json() == made
    assert api.http.get(base).json() == {"items": [made], "next_page_token": None}
    changed = api.http.patch(path_of(made), json={"url": f"{URL}/2", "batch_size": 7, "max_labels": 9}).json()
    assert (changed["url"], changed["batch_size"], changed["max_labels"]) == (f"{URL}/2", 7, 9)
    assert api.http.delete(path_of(made)).status_code == 204
    assert api.http.get(path_of(made)).status_code == 404
    assert api.http.delete(path_of(made)).status_code == 404
    with api.runtime.database.read() as session:
        assert [session.scalars(select(table)).all() for table in (Annotator, Webhook)] == [[], []]
        assert session.scalars(select(Pool)).one().programs == 0


def test_its_secret_is_sealed_and_shown_once(api: Api) -> None:
    base = f"/v1/projects/{api.project()}/annotators"
    key = {"Idempotency-Key": "once"}
    made = api.http.post(base, json={"name": "p", "url": URL}, headers=key).json()
    again = api.http.post(base, json={"name": "p", "url": URL}, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == {**made, "secret": None}
    with api.runtime.database.read() as session:
        (row,) = session.scalars(select(Webhook))
    assert made["secret"] not in row.secret
    assert api.runtime.sealer.open(row.secret) == made["secret"]


def test_rotation_keeps_the_old_secret_signing_for_a_day(api: Api) -> None:
    _, made = project_with_program(api)
    path, key = f"{path_of(made)}/rotate-secret", {"Idempotency-Key": "once"}
    rotated = api.http.post(path, headers=key).json()
    again = api.http.post(path, headers=key)
    assert again.json() == {**rotated, "secret": None}
    secret = rotated.pop("secret")
    assert secret.startswith("whsec_")
    assert rotated == shown(api, made)
    parcel = next_parcel(api)
    assert [api.runtime.sealer.open(sealed) for sealed in parcel.secrets] == [secret, made["secret"]]
    with api.runtime.database.read() as session:
        (row,) = session.scalars(select(Webhook))
    later = webhooks.signing_secrets(row, now=utc_now() + timedelta(hours=25))
    assert [api.runtime.sealer.open(sealed) for sealed in later] == [secret]
    for headers, status in ((api.key("read"), 403), (api.key("project:write", project_id=api.project()), 404)):
        assert api.http.post(path, headers=headers).status_code == status
    assert api.http.post(path, json={"nonsense": 1}).status_code == 422
    assert api.http.post(path.replace("ann_", "ann_0"), headers={}).status_code == 404


def test_it_is_no_webhook(api: Api) -> None:
    made = create(api, api.project())
    with api.runtime.database.read() as session:
        webhook_id = session.get_one(Annotator, made["id"]).webhook_id
    assert api.http.get("/v1/webhooks").json()["items"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/test"), ("POST", "/rotate-secret")):
        body = {"enabled": False} if method == "PATCH" else None
        assert api.http.request(method, f"/v1/webhooks/{webhook_id}{path}", json=body).status_code == 404, method


def test_a_secret_that_the_service_cannot_open_any_more_is_replaced(api: Api) -> None:
    project_id = api.project()
    made = create(api, project_id)
    restored = make_api(replace(api.runtime, sealer=(sealer := Sealer("another secret of the tests"))))
    rotated = restored.http.post(f"/v1/projects/{project_id}/annotators/{made['id']}/rotate-secret").json()
    with api.runtime.database.read() as session:
        endpoint = session.get_one(Webhook, session.get_one(Annotator, made["id"]).webhook_id)
        signing = webhooks.signing_secrets(endpoint, now=utc_now())
    assert [sealer.open(sealed) for sealed in signing] == [rotated["secret"]]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"url": "http://169.254.169.254/"}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"name": ""}, "/name"),
        ({"name": "two\nlines"}, "/name"),
        ({"kind": "person"}, "/kind"),
        ({"batch_size": 0}, "/batch_size"),
        ({"batch_size": 1001}, "/batch_size"),
        ({"lease_seconds": 1}, "/lease_seconds"),
        ({"max_labels": 0}, "/max_labels"),
        ({"max_cost": 0}, "/max_cost"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_bad_ones_are_refused(api: Api, changes: dict[str, Any], pointer: str) -> None:
    base = f"/v1/projects/{api.project()}/annotators"
    answer = api.http.post(base, json={"name": "p", "url": URL, **changes})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.http.get(base).json()["items"] == []


def test_a_name_is_taken_once_and_a_project_has_a_hundred_at_most(api: Api) -> None:
    project_id = api.project()
    for number in range(100):
        create(api, project_id, name=f"p{number}")
    base = f"/v1/projects/{project_id}/annotators"
    assert api.http.post(base, json={"name": "p7", "url": URL}).status_code == 409
    assert api.http.post(base, json={"name": "another", "url": URL}).status_code == 409
    first = api.http.get(base, params={"page_size": 60}).json()
    rest = api.http.get(base, params={"page_size": 60, "page_token": first["next_page_token"]}).json()
    assert [one["name"] for one in [*first["items"], *rest["items"]]] == [f"p{number}" for number in range(100)]
    create(api, api.project(), name="p7")


def test_scopes(api: Api) -> None:
    made = create(api, api.project())
    body = {"name": "p", "url": URL}
    base = f"/v1/projects/{made['project_id']}/annotators"
    reader, writer = api.key("read"), api.key("project:write")
    assert api.http.get(path_of(made), headers=reader).status_code == 200
    assert api.http.post(base, json=body, headers=reader).status_code == 403
    assert api.http.patch(path_of(made), json={"state": "stopped"}, headers=reader).status_code == 403
    assert api.http.post(base, json=body, headers=writer).status_code == 201
    assert api.http.post(base, json=body, headers=api.key("label:write")).status_code == 403


def test_stopped_by_hand_it_gives_its_batch_back_and_nothing_more_is_taken(api: Api) -> None:
    project_id, made = project_with_program(api)
    hook = {"url": URL, "events": ["annotator.stopped"], "project_id": project_id}
    assert api.http.post("/v1/webhooks", json=hook).status_code == 201
    parcel = next_parcel(api)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 5
    stopped = api.http.patch(path_of(made), json={"state": "stopped"}).json()
    assert (stopped["state"], stopped["stopped_reason"], stopped["call"]) == ("stopped", "by_hand", None)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 0
    answered(api, parcel, labels_for(parcel))
    rows = [{**right(one), "annotator": "rules", "source": "automated"} for one in ids_in(parcel)]
    late = [{**row, "batch_id": batch_in(parcel)["job_id"]} for row in rows]
    refused = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": late})
    assert refused.status_code == 422
    assert {error["code"] for error in refused.json()["errors"]} == {"annotator_stopped"}
    assert labels_of(api, project_id) == []
    wait(api, 3600)
    step(api)
    assert [parcel.event for parcel in sent(api)] == ["annotator.stopped"]
    assert [call["state"] for call in calls_of(api, made)] == ["withdrawn"]


def test_it_goes_on_when_it_is_let(api: Api) -> None:
    project_id, made = project_with_program(api)
    api.http.patch(path_of(made), json={"state": "stopped"})
    step(api)
    assert sent(api) == []
    assert api.http.patch(path_of(made), json={"state": "active"}).json()["stopped_reason"] is None
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel))
    assert shown(api, made)["labels_used"] == 5
    assert len(labels_of(api, project_id)) == 5


def test_without_automatic_annotation_it_is_sent_nothing(api: Api) -> None:
    project_id, made = project_with_program(api, project={"annotation": {"automatic": False}})
    wait(api, 60)
    step(api)
    assert (sent(api), calls_of(api, made)) == ([], [])
    patched = api.http.patch(
        f"/v1/projects/{project_id}", json={"annotation": {"automatic": True}}, headers={"If-Match": "*"}
    )
    assert patched.json()["annotation"]["automatic"] is True
    assert len(ids_in(next_parcel(api))) == 5


def test_switched_off_while_a_batch_is_made_it_is_sent_nothing(api: Api) -> None:
    project_id, made = project_with_program(api)
    with api.runtime.write() as session:
        calls.advance(session, settings=api.runtime.settings, now=utc_now())
    assert shown(api, made)["call"]["state"] == "ranking"
    body = {"annotation": {"automatic": False}}
    api.http.patch(f"/v1/projects/{project_id}", json=body, headers={"If-Match": "*"})
    wait(api, 5)
    step(api)
    assert sent(api) == []
    (call,) = calls_of(api, made)
    assert call["state"] == "withdrawn"
    assert api.http.get(f"/v1/jobs/{call['job_id']}").json()["state"] == "cancelled"


def test_deleted_it_leaves_its_labels_and_its_name(api: Api) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel))
    held = next_parcel(api)
    assert api.http.delete(path_of(made)).status_code == 204
    answered(api, held, labels_for(held))
    assert len(labels_of(api, project_id)) == 5
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 0
    with api.runtime.database.read() as session:
        assert session.scalars(select(AnnotatorCall)).all() == []
        assert session.scalars(select(Delivery)).all() == []
    person = {"example_id": ids_in(held)[0], "label": "a", "annotator": "rules"}
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [person]}).status_code == 200


def test_a_deleted_project_takes_its_programs_along(api: Api) -> None:
    project_id, _ = project_with_program(api)
    next_parcel(api)
    assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
    wait(api, 3600)
    step(api)
    with api.runtime.database.read() as session:
        assert [session.scalars(select(one)).all() for one in (Annotator, AnnotatorCall, Webhook)] == [[], [], []]
