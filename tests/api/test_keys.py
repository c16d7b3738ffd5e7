from typing import Any

import pytest
from httpx2 import Response

from tests.support.runtime import Api

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
    assert api.http.get(f"/v1/keys/{made['id']}").json()["revoked_at"] is not None


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
