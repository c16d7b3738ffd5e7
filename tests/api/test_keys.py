import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import update

from service.actions import keys
from service.api.deps.runtime import utc_now
from service.db import session as sessions
from service.db.tables import Key
from service.errors import ConflictError
from tests.support.pools import add_examples, add_labels
from tests.support.redis_server import wait_until
from tests.support.runtime import Api
from tests.support.stopwatch import Stopwatch
from tests.support.working import drain

REVOKED_AFTER_SECONDS = 0.5
ENDS_WITHIN_SECONDS = 5
NEW = {"name": "tool", "scopes": ["read", "label:write"]}


def create(api: Api, **changes: Any) -> dict[str, Any]:
    answer = api.http.post("/v1/keys", json={**NEW, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def status(api: Api, key: str) -> int:
    answer: Response = api.http.get("/v1/projects", headers={"Authorization": f"Bearer {key}"})
    return answer.status_code


def test_a_key_is_shown_once_and_works_until_it_is_revoked(api: Api) -> None:
    made = create(api)
    secret = made.pop("key")
    assert (made["name"], made["scopes"], made["hint"]) == ("tool", ["read", "label:write"], secret[-4:])
    assert api.http.get(f"/v1/keys/{made['id']}").json() == made
    assert made in api.http.get("/v1/keys").json()["items"]
    assert status(api, secret) == 200
    assert api.http.get(f"/v1/keys/{made['id']}").json()["last_used_at"] is not None
    for _ in range(2):
        assert api.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert status(api, secret) == 401
    for gone in (api.http.get(f"/v1/keys/{made['id']}"), api.http.post(f"/v1/keys/{made['id']}/rotate")):
        assert gone.status_code == 404
        assert gone.json()["detail"].startswith("The key was revoked.")
    listed = {key["id"]: key for key in api.http.get("/v1/keys").json()["items"]}
    assert listed[made["id"]]["revoked_at"] is not None


def test_a_key_may_read_though_nothing_can_be_written(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_BUSY_MILLISECONDS", 100)
    made = create(api)
    with api.runtime.database.write() as session:
        session.execute(update(Key).where(Key.id == made["id"]).values(name="held"))
        assert status(api, made["key"]) == 200
    assert api.http.get(f"/v1/keys/{made['id']}").json()["last_used_at"] is None
    api.runtime.authenticate(made["key"])
    assert api.http.get(f"/v1/keys/{made['id']}").json()["last_used_at"] is not None


def test_a_replayed_answer_has_no_key(api: Api) -> None:
    answers = [api.http.post("/v1/keys", json=NEW, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert answers[1].json() == {**answers[0].json(), "key": None}


def test_rotation_overlaps(api: Api) -> None:
    made = create(api)
    successor = api.http.post(f"/v1/keys/{made['id']}/rotate")
    assert successor.status_code == 201
    body = successor.json()
    assert (body["name"], body["scopes"]) == (made["name"], made["scopes"])
    assert status(api, made["key"]) == status(api, body["key"]) == 200
    at_once = api.http.post(f"/v1/keys/{body['id']}/rotate", json={"overlap_seconds": 0}).json()
    assert (status(api, body["key"]), status(api, at_once["key"])) == (401, 200)
    assert api.http.post(f"/v1/keys/{body['id']}/rotate").status_code == 404


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"scopes": ["read", "read"]}, "/scopes"),
        ({"name": ""}, "/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2035-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "/expires_at"),
        ({"project_id": "prj_unknown"}, "/project_id"),
        ({"key": "gln_mine"}, "/key"),
    ],
)
def test_bad_keys_are_refused(api: Api, changes: dict[str, Any], pointer: str) -> None:
    answer = api.http.post("/v1/keys", json={**NEW, **changes})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_only_an_unbound_admin_handles_keys(api: Api) -> None:
    bound = api.key("admin", project_id=api.project())
    for who in (api.key("project:write", "read"), bound):
        assert api.http.get("/v1/keys", headers=who).status_code == 403
        assert api.http.post("/v1/keys", json=NEW, headers=who).status_code == 403
    assert api.http.get("/v1/keys/key_unknown").status_code == 404
    assert api.http.delete("/v1/keys/key_unknown").status_code == 404


def test_keys_are_paged(api: Api) -> None:
    made = {create(api)["id"] for _ in range(3)}
    found: set[str] = set()
    token = None
    while True:
        page = api.http.get("/v1/keys", params={"page_size": 2, **({"page_token": token} if token else {})}).json()
        found |= {item["id"] for item in page["items"]}
        token = page["next_page_token"]
        if token is None:
            break
    assert made < found


def test_the_last_admin_key_is_rotated_and_never_revoked(api: Api) -> None:
    (admin,) = api.http.get("/v1/keys").json()["items"]
    assert api.http.delete(f"/v1/keys/{admin['id']}").status_code == 409
    passing = create(api, scopes=["admin"], expires_at="2100-01-01T00:00:00Z")
    assert api.http.delete(f"/v1/keys/{admin['id']}").status_code == 409, "the other one does not live as long"
    successor = api.http.post(f"/v1/keys/{admin['id']}/rotate", json={"overlap_seconds": 600}).json()
    assert api.http.delete(f"/v1/keys/{passing['id']}").status_code == 204
    assert api.http.delete(f"/v1/keys/{successor['id']}").status_code == 409
    assert api.http.delete(f"/v1/keys/{admin['id']}").status_code == 204
    assert status(api, successor["key"]) == 200


def test_an_operators_key_is_one_until_it_is_revoked_though_the_settings_name_another(api: Api) -> None:
    before = "gln_of-the-operator-0123456789"
    assert status(api, before) == 401
    with api.runtime.database.write() as session:
        keys.ensure_admin(session, before, now=utc_now())
    assert status(api, before) == 200
    (listed,) = [key for key in api.http.get("/v1/keys").json()["items"] if key["hint"] == before[-4:]]
    assert api.http.delete(f"/v1/keys/{listed['id']}").status_code == 204
    assert status(api, before) == 401


def test_a_revoked_first_key_stays_revoked_at_the_next_start(api: Api) -> None:
    with api.runtime.database.write() as session:
        _, secret = keys.create(
            session, name="first", scopes=["admin"], project_id=None, expires_at=None, now=utc_now()
        )
        keys.revoke(session, keys.authenticate(session, secret, now=utc_now()).key_id, now=utc_now())
        keys.ensure_admin(session, secret, now=utc_now())
    assert status(api, secret) == 401
    with api.runtime.database.write() as session:
        for key in keys.page(session, after=None, size=10):
            key.revoked_at = utc_now()
        session.flush()
        with pytest.raises(ConflictError, match="there is no other"):
            keys.ensure_admin(session, secret, now=utc_now())


@contextmanager
def revoked_meanwhile(api: Api, *scopes: str) -> Iterator[dict[str, str]]:
    """Headers with a key that is revoked half a second after it was used; what goes on then has to end within five."""
    made, revoked = create(api, scopes=list(scopes)), Event()

    def revoke() -> None:
        wait_until(lambda: was_used(api, made["id"]))
        time.sleep(REVOKED_AFTER_SECONDS)
        revoked.set()
        ending.start()
        assert api.http.delete(f"/v1/keys/{made['id']}").status_code == 204

    with ThreadPoolExecutor(1) as pool:
        with Stopwatch() as ending:
            revoking = pool.submit(revoke)
            yield {"Authorization": f"Bearer {made['key']}"}
        assert revoked.is_set()
        revoking.result()
    assert ending.seconds < ENDS_WITHIN_SECONDS


def was_used(api: Api, key_id: str) -> bool:
    with api.runtime.database.read() as session:
        return session.get_one(Key, key_id).last_used_at is not None


def test_a_stream_and_a_waiting_request_end_with_their_key(api: Api) -> None:
    job_id = api.http.post(f"/v1/projects/{api.project()}/trainings", json={}).json()["id"]
    with revoked_meanwhile(api, "read") as headers:
        assert api.http.get(f"/v1/jobs/{job_id}/events", headers=headers).status_code == 200
    with revoked_meanwhile(api, "read") as headers:
        answer = api.http.get(f"/v1/jobs/{job_id}", headers={**headers, "Prefer": "wait=30"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [("trainings", {}), ("queries", {"k": 1}), ("models/1/predict", {"examples": [{"vector": [1.0, 2.0]}]})],
)
def test_a_job_accepted_before_its_key_ended_is_told(api: Api, path: str, body: dict[str, Any]) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(12))
    api.http.post(f"/v1/projects/{project_id}/trainings", json={})
    drain(api.runtime)
    with revoked_meanwhile(api, "query:run") as headers:
        prefer = {**headers, "Prefer": "wait=30"}
        answer = api.http.post(f"/v1/projects/{project_id}/{path}", json=body, headers=prefer)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert "Preference-Applied" not in answer.headers
    assert api.http.get(answer.headers["Location"]).json()["id"] == answer.json()["id"]
