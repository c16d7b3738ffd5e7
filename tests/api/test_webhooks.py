from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from service.actions import events, webhooks
from service.actions.keys import Caller
from service.api.deps.runtime import utc_now
from service.db.queries import webhooks as queries
from service.db.tables import Delivery, Job, Webhook
from service.security.sealing import Sealer
from tests.support.runtime import Api, make_api, make_runtime

URL = "https://93.184.215.14/hook"
EVENTS = ["training.succeeded", "query.succeeded", "query.failed", "pool.exhausted"]


def create(api: Api, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    answer = api.http.post("/v1/webhooks", json={"url": URL, "events": EVENTS, **changes}, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def job_of(project_id: str, kind: str = "query") -> Job:
    return Job(id="job_1", project_id=project_id, kind=kind)


def told(api: Api, webhook_id: str) -> list[dict[str, Any]]:
    with api.runtime.database.read() as session:
        found = session.scalars(select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.sequence))
        return [orjson.loads(delivery.body) for delivery in found]


def test_create_read_change_delete(api: Api) -> None:
    project_id = api.project()
    made = create(api, project_id=project_id)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["enabled"] is True
    path = f"/v1/webhooks/{made['id']}"
    assert api.http.get(path).json() == made
    assert api.http.get("/v1/webhooks").json() == {"items": [made], "next_page_token": None}

    changed = api.http.patch(path, json={"url": f"{URL}/2", "events": ["webhook.test"], "enabled": False}).json()
    assert (changed["url"], changed["events"], changed["enabled"]) == (f"{URL}/2", ["webhook.test"], False)
    assert api.http.delete(path).status_code == 204
    assert api.http.get(path).status_code == 404
    assert api.http.delete(path).status_code == 404


def test_the_secret_is_sealed_at_rest_and_left_out_of_a_replay(api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    made = create(api, key)
    again = api.http.post("/v1/webhooks", json={"url": URL, "events": EVENTS}, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == {**made, "secret": None}
    with api.runtime.database.read() as session:
        (row,) = session.scalars(select(Webhook))
    assert made["secret"] not in row.secret
    assert api.runtime.sealer.open(row.secret) == made["secret"]


def test_rotation_keeps_the_old_secret_signing_for_a_day(api: Api) -> None:
    made = create(api)
    rotated = api.http.post(f"/v1/webhooks/{made['id']}/rotate-secret").json()
    with api.runtime.database.read() as session:
        row = session.get_one(Webhook, made["id"])
        open_secret = api.runtime.sealer.open
        now = utc_now()
        signing = [open_secret(sealed) for sealed in webhooks.signing_secrets(row, now=now)]
        later = [open_secret(sealed) for sealed in webhooks.signing_secrets(row, now=now + timedelta(hours=25))]
    assert signing == [rotated["secret"], made["secret"]]
    assert later == [rotated["secret"]]


def test_a_secret_that_the_service_cannot_open_any_more_does_not_sign_along(api: Api) -> None:
    made = create(api)
    sealer = Sealer("another secret of the tests")
    restored = make_api(replace(api.runtime, sealer=sealer))
    rotated = restored.http.post(f"/v1/webhooks/{made['id']}/rotate-secret").json()
    with api.runtime.database.read() as session:
        signing = webhooks.signing_secrets(session.get_one(Webhook, made["id"]), now=utc_now())
    assert [sealer.open(sealed) for sealed in signing] == [rotated["secret"]]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "/url"),
        ({"url": "http://0x7f.1/"}, "/url"),
        ({"url": "http://localhost:8000/"}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "https://user:word@93.184.215.14/"}, "/url"),
        ({"url": 5}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["training.started"]}, "/events"),
        ({"events": ["query.failed", "query.failed"]}, "/events"),
        ({"project_id": "prj_unknown"}, "/project_id"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_bad_webhooks_are_refused(api: Api, changes: dict[str, Any], pointer: str) -> None:
    answer = api.http.post("/v1/webhooks", json={"url": URL, "events": EVENTS, **changes})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    made = create(api)
    if pointer != "/project_id":
        assert api.http.patch(f"/v1/webhooks/{made['id']}", json=changes).status_code == 422
    assert len(api.http.get("/v1/webhooks").json()["items"]) == 1


def test_null_changes_nothing(api: Api) -> None:
    made = create(api)
    assert api.http.patch(f"/v1/webhooks/{made['id']}", json={"enabled": None}).status_code == 422


def test_an_opened_network_may_be_named(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, webhook_allow="127.0.0.0/8")
    with (api := make_api(runtime)).http:
        create(api, url="http://127.0.0.1:9/")
    runtime.database.close()


def test_scopes(api: Api) -> None:
    made = create(api)
    path = f"/v1/webhooks/{made['id']}"
    reader, writer, labeler = api.key("read"), api.key("project:write"), api.key("label:write")
    for reading in ("/v1/webhooks", path, f"{path}/deliveries"):
        assert [api.http.get(reading, headers=who).status_code for who in (reader, writer, labeler)] == [200, 200, 403]
    for action in ("test", "rotate-secret", "deliveries/dlv_1/redeliver"):
        assert api.http.post(f"{path}/{action}", headers=reader).status_code == 403
    assert api.http.delete(path, headers=reader).status_code == 403
    assert api.http.delete(path, headers=writer).status_code == 204


def test_a_key_of_one_project_sees_only_its_webhooks(api: Api) -> None:
    mine, other = api.project(), api.project()
    bound = api.key("project:write", "read", project_id=mine)
    hidden = [create(api)["id"], create(api, project_id=other)["id"]]
    own = create(api, bound, project_id=mine)["id"]
    assert [item["id"] for item in api.http.get("/v1/webhooks", headers=bound).json()["items"]] == [own]
    unknown = api.http.get("/v1/webhooks/whk_unknown", headers=bound).json()
    for webhook_id in hidden:
        answer = api.http.get(f"/v1/webhooks/{webhook_id}", headers=bound)
        assert {**answer.json(), "request_id": ""} == {**unknown, "request_id": ""}
        assert api.http.patch(f"/v1/webhooks/{webhook_id}", json={}, headers=bound).status_code == 404
        assert api.http.post(f"/v1/webhooks/{webhook_id}/test", headers=bound).status_code == 404
        assert api.http.delete(f"/v1/webhooks/{webhook_id}", headers=bound).status_code == 404
    new = {"url": URL, "events": EVENTS}
    assert api.http.post("/v1/webhooks", json=new, headers=bound).status_code == 403
    assert api.http.post("/v1/webhooks", json={**new, "project_id": other}, headers=bound).status_code == 422


def test_lists_go_on_page_by_page(api: Api) -> None:
    made = {create(api)["id"] for _ in range(3)}
    first = api.http.get("/v1/webhooks", params={"page_size": 2}).json()
    token = first["next_page_token"]
    second = api.http.get("/v1/webhooks", params={"page_size": 2, "page_token": token}).json()
    assert {item["id"] for item in first["items"] + second["items"]} == made
    assert second["next_page_token"] is None
    assert api.http.get("/v1/keys", params={"page_token": token}).status_code == 400


def test_a_test_event_goes_to_that_webhook_alone(api: Api) -> None:
    made, other = create(api), create(api, events=["webhook.test"])
    answer = api.http.post(f"/v1/webhooks/{made['id']}/test")
    assert answer.status_code == 202
    delivery = answer.json()
    assert (delivery["event"], delivery["state"], delivery["attempts"]) == ("webhook.test", "pending", [])
    (body,) = told(api, made["id"])
    assert body["type"] == "webhook.test"
    assert body["sequence"] == delivery["sequence"] == 1
    assert body["data"] == {"project_id": None, "job_id": None, "model": None, "webhook": {"id": made["id"]}}
    assert told(api, other["id"]) == []


def test_a_disabled_webhook_sends_nothing(api: Api) -> None:
    made = create(api)
    path = f"/v1/webhooks/{made['id']}"
    delivery = api.http.post(f"{path}/test").json()
    api.http.patch(path, json={"enabled": False})
    assert api.http.get(f"{path}/deliveries").json()["items"][0]["next_attempt_at"] is None
    assert api.http.post(f"{path}/test").status_code == 409
    assert api.http.post(f"{path}/deliveries/{delivery['id']}/redeliver").status_code == 409
    with api.runtime.database.write() as session:
        queries.disable(session, made["id"], reason="it was gone", now=utc_now())
    assert api.http.patch(path, json={"enabled": True}).json()["disabled_reason"] is None
    assert api.http.get(f"{path}/deliveries").json()["items"][0]["next_attempt_at"] is not None


def test_deliveries_are_listed_newest_first_and_can_be_sent_again(api: Api) -> None:
    path = f"/v1/webhooks/{create(api)['id']}"
    sent = [api.http.post(f"{path}/test").json()["id"] for _ in range(3)]
    first = api.http.get(f"{path}/deliveries", params={"page_size": 2}).json()
    more = {"page_size": 2, "page_token": first["next_page_token"]}
    second = api.http.get(f"{path}/deliveries", params=more).json()
    assert [item["id"] for item in first["items"] + second["items"]] == sent[::-1]
    assert second["next_page_token"] is None

    with api.runtime.database.write() as session:
        delivery = session.get_one(Delivery, sent[0])
        delivery.state, delivery.attempt, delivery.next_attempt_at, delivery.finished_at = "failed", 10, None, utc_now()
    again = api.http.post(f"{path}/deliveries/{sent[0]}/redeliver")
    assert again.status_code == 202
    assert again.json()["id"] == sent[0]
    assert (again.json()["state"], again.json()["finished_at"]) == ("pending", None)
    other = create(api)["id"]
    assert api.http.post(f"/v1/webhooks/{other}/deliveries/{sent[0]}/redeliver").status_code == 404


def test_events_reach_the_subscribed_webhooks_of_the_project_and_of_the_service(api: Api) -> None:
    project_id, stranger = api.project(), api.project()
    own = create(api, project_id=project_id)["id"]
    everywhere = create(api, events=["query.succeeded"])["id"]
    foreign = create(api, project_id=stranger)["id"]
    model = {"version": 3, "labels_used": 40, "metrics": {"accuracy": {"value": 0.9}}}
    with api.runtime.database.write() as session:
        events.query_succeeded(session, job_of(project_id), model=model, size=7, exhausted=True, now=utc_now())
        events.training_succeeded(session, job_of(project_id, "training"), model=None, now=utc_now())
        events.job_failed(session, job_of(project_id), error={"name": "worker-lost", "detail": "x"}, now=utc_now())
        events.job_failed(
            session, job_of(project_id, "merge"), error={"name": "worker-lost", "detail": ""}, now=utc_now()
        )
    bodies = told(api, own)
    assert [body["type"] for body in bodies] == [
        "query.succeeded",
        "pool.exhausted",
        "training.succeeded",
        "query.failed",
    ]
    assert [body["sequence"] for body in bodies] == [1, 2, 3, 4]
    batch = {"url": "/v1/jobs/job_1/batch", "size": 7}
    assert bodies[0]["data"] == {"project_id": project_id, "job_id": "job_1", "model": model, "batch": batch}
    assert bodies[0]["timestamp"].endswith("Z")
    assert bodies[2]["data"]["model"] is None
    assert bodies[3]["data"]["error"] == {"name": "worker-lost", "detail": "x"}
    assert [body["type"] for body in told(api, everywhere)] == ["query.succeeded"]
    assert told(api, foreign) == []


def test_a_body_stays_under_its_limit_whatever_the_metrics(api: Api) -> None:
    project_id = api.project()
    webhook_id = create(api)["id"]
    metrics = {f"recall_{number}": {"value": 0.5} for number in range(2000)}
    with api.runtime.database.write() as session:
        model = {"version": 1, "labels_used": 9, "metrics": metrics}
        events.training_succeeded(session, job_of(project_id, "training"), model=model, now=utc_now())
    (body,) = told(api, webhook_id)
    assert body["data"]["model"] == {"version": 1, "labels_used": 9, "metrics": {}}


def test_a_rolled_back_change_tells_nothing(api: Api) -> None:
    project_id = api.project()
    webhook_id = create(api)["id"]
    with api.runtime.database.read() as session:
        events.training_succeeded(session, job_of(project_id, "training"), model=None, now=utc_now())
    assert told(api, webhook_id) == []
    who = Caller("key_1", "key_1", frozenset({"admin"}), None, None, use_recorded=True)
    with api.runtime.database.write() as session:
        sent = webhooks.send_test(session, who, webhook_id, now=utc_now())
    assert sent.delivery.sequence == 1


@pytest.mark.parametrize("action", ["rotate-secret", "test"])
def test_actions_take_no_fields(api: Api, action: str) -> None:
    webhook = create(api)
    answer = api.http.post(f"/v1/webhooks/{webhook['id']}/{action}", json={"nonsense": 1})
    assert answer.status_code == 422
    assert [bad["pointer"] for bad in answer.json()["errors"]] == ["/nonsense"]
    assert api.http.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["items"] == []
