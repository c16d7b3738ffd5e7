"""Who may do what: a matrix made from the API's own document, so that a new operation is in it by itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from httpx2 import Response
from sqlalchemy import event
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from service.actions.keys import SCOPES
from service.api.deps import callers
from service.api.deps.runtime import utc_now
from service.app import build
from service.db.tables import Key
from service.security.keys import generate
from tests.support.holdings import holdings
from tests.support.pools import ask
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.tenants import ABSENT, Operation, operations, tenant, told

PUBLIC = {"isLive", "isReady", "explainProblem", "getMetrics"}


@dataclass
class World:
    """An API with two tenants; `waiting` is `theirs` with a job that has not begun instead of a finished one."""

    api: Api
    guarded: list[Operation]
    public: list[Operation]
    mine: dict[str, str]
    theirs: dict[str, str]
    waiting: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    runtime = make_runtime(tmp_path_factory.mktemp("world"))
    api = make_api(runtime)
    with api.http:
        found = list(operations(api.http.get("/openapi.json").json()))
        guarded = [operation for operation in found if operation.path.startswith("/v1/")]
        public = [operation for operation in found if operation not in guarded]
        mine, theirs = tenant(api, "mine", models=1), tenant(api, "theirs", models=2)
        waiting = {**theirs, "job_id": ask(api, theirs["project_id"], k=1)}
        yield World(api, guarded, public, mine, theirs, waiting)
    runtime.database.close()


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _check(answer: Response, status: int, kind: str, place: object) -> None:
    assert answer.status_code == status, (place, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json", place
    body = answer.json()
    assert (body["status"], body["type"].rpartition("/")[2]) == (status, kind), place
    assert body["request_id"] == answer.headers["X-Request-Id"], place


def test_every_operation_has_a_rule(world: World) -> None:
    assert {operation.name for operation in world.public} <= PUBLIC
    assert len(world.guarded) > 40
    for operation in world.guarded:
        assert operation.rule is not None, operation.name
        assert set(operation.rule["scopes"]) <= set(SCOPES), operation.name
        assert set(operation.ids) <= set(ABSENT), f"{operation.name}: teach tests.support.tenants its ids"


def test_a_route_without_a_rule_keeps_the_service_from_starting() -> None:
    router = APIRouter()
    router.get("/v1/secrets", name="list_secrets")(lambda: None)
    with pytest.raises(RuntimeError, match="list_secrets"):
        callers.declare(router.routes)


@pytest.mark.parametrize(
    "add",
    [
        lambda router: router.add_route("/v1/secrets", endpoint=PlainTextResponse("s")),
        lambda router: router.mount("/v1", PlainTextResponse("s")),
        lambda router: router.mount("/", PlainTextResponse("s")),
        lambda router: router.host("secrets.example", PlainTextResponse("s")),
        lambda router: router.add_websocket_route("/v1/secrets", endpoint=PlainTextResponse("s")),
        lambda router: router.include_router(APIRouter()),
    ],
    ids=["route", "mount", "mount of all", "host", "socket", "router"],
)
def test_a_route_that_can_have_no_rule_keeps_the_service_from_starting(add: Callable[[APIRouter], object]) -> None:
    router = APIRouter()
    add(router)
    with pytest.raises(RuntimeError, match="can have no rule"):
        callers.declare(router.routes)


def test_only_the_document_and_its_page_are_served_without_a_rule(world: World) -> None:
    def ruled(route: BaseRoute) -> bool:
        return isinstance(route, APIRoute) and (
            "x-access" in (route.openapi_extra or {}) or route.operation_id in PUBLIC
        )

    served = [route for route in build(world.api.runtime).routes if not ruled(route)]
    assert [route.path for route in served if isinstance(route, Route)] == ["/openapi.json", "/docs"]
    assert len(served) == 2


def test_changes_in_place_are_seen(api: Api) -> None:
    """What the matrix compares differs after a change that adds and removes no row."""
    ids = tenant(api, "mine", models=1)
    waiting = ask(api, ids["project_id"], k=1)
    seen = [holdings(api)]
    for method, path, body in (
        ("PATCH", "/v1/projects/{project_id}", {"name": "another"}),
        ("POST", f"/v1/jobs/{waiting}/cancel", {}),
        ("POST", "/v1/jobs/{job_id}/batch/renew", {"lease_seconds": 7200}),
        ("POST", "/v1/webhooks/{webhook_id}/rotate-secret", {}),
        ("POST", "/v1/projects/{project_id}/annotators/{annotator_id}/rotate-secret", {}),
        ("DELETE", "/v1/keys/{key_id}", None),
    ):
        answer = api.http.request(method, path.format(**ids), json=body, headers={"If-Match": "*"})
        assert answer.is_success, answer.text
        seen.append(holdings(api))
        assert {name: len(rows) for name, rows in seen[-1].items()} == {
            name: len(rows) for name, rows in seen[0].items()
        }
    assert all(before != after for before, after in pairwise(seen))


def _dead_key(api: Api, **fields: Any) -> dict[str, str]:
    headers = api.key("admin")
    with api.runtime.database.write() as session:
        key = session.query(Key).order_by(Key.id.desc()).first()
        assert key is not None
        for name, value in fields.items():
            setattr(key, name, value)
    return headers


@pytest.mark.parametrize("kind", ["none", "empty", "basic", "malformed", "typo", "unknown", "revoked", "expired"])
def test_without_a_live_key_nothing_is_told_or_done(world: World, kind: str) -> None:
    api, now = world.api, utc_now()
    key = generate()
    headers = {
        "none": {},
        "empty": _bearer(""),
        "basic": {"Authorization": "Basic YWRtaW46YWRtaW4="},
        "malformed": _bearer("gln_no"),
        "typo": _bearer(key[:-1] + ("A" if key[-1] != "A" else "B")),
        "unknown": _bearer(key),
        "revoked": _dead_key(api, revoked_at=now),
        "expired": _dead_key(api, expires_at=now - timedelta(seconds=1)),
    }[kind]
    before, statements = holdings(api), 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(api.runtime.database.engine, "before_cursor_execute", count)
    try:
        for operation in world.guarded:
            for ids in (world.theirs, world.waiting, ABSENT):
                answer = operation.call(api, ids, headers)
                _check(answer, 401, "unauthenticated", operation.name)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
    finally:
        event.remove(api.runtime.database.engine, "before_cursor_execute", count)
    assert holdings(api) == before
    if kind not in {"unknown", "revoked", "expired"}:
        assert statements == 0, "what is plainly no key is refused without asking the database"


def test_a_key_without_the_scope_is_refused(world: World) -> None:
    keys = {scope: world.api.key(scope) for scope in SCOPES}
    before = holdings(world.api)
    refused = 0
    for operation in world.guarded:
        assert operation.rule is not None
        for scope in set(SCOPES) - {"admin", *(operation.rule["scopes"] or SCOPES)}:
            for ids in (world.theirs, world.waiting, ABSENT):
                _check(operation.call(world.api, ids, keys[scope]), 403, "forbidden", (operation.name, scope))
                refused += 1
    assert refused > 300
    assert holdings(world.api) == before


def test_each_scope_that_suffices_is_let_in(world: World) -> None:
    for operation in world.guarded:
        assert operation.rule is not None
        for scope in [*operation.rule["scopes"], "admin"]:
            answer = operation.call(world.api, ABSENT, world.api.key(scope))
            assert answer.status_code not in {401, 403}, (operation.name, scope, answer.text)


def test_a_key_of_one_project_finds_nothing_of_another(world: World) -> None:
    """Whatever of another project it names, the answer is the one for what never existed."""
    mine = world.api.key(*SCOPES, project_id=world.mine["project_id"])
    before = holdings(world.api)
    for operation in world.guarded:
        assert operation.rule is not None
        if operation.rule["bound_keys"] == "refused":
            _check(operation.call(world.api, world.theirs, mine), 403, "forbidden", operation.name)
        for depth in range(len(operation.ids)):
            own = {name: world.mine[name] for name in operation.ids[:depth]}
            for headers in (mine, {**mine, "Idempotency-Key": f"{operation.name}-{depth}"}):
                absent = operation.call(world.api, {**ABSENT, **own}, headers)
                for ids in (world.theirs, world.waiting):
                    theirs = operation.call(world.api, {**ids, **own}, headers)
                    assert told(theirs, ids) == told(absent, ABSENT), operation.name
                    if operation.rule["bound_keys"] == "own":
                        _check(theirs, 404, "not-found", (operation.name, depth))
    assert holdings(world.api) == before


def test_lists_and_bodies_show_nothing_of_another_project(world: World) -> None:
    mine = world.api.key(*SCOPES, project_id=world.mine["project_id"])
    secrets = {value for name, value in world.theirs.items() if name != "version"} - set(world.mine.values())
    for operation in world.guarded:
        if operation.method == "GET" and operation.ids in ([], ["project_id"]):
            text = operation.call(world.api, world.mine, mine).text
            assert not [secret for secret in secrets if secret in text], operation.name
    answers = []
    for ids in (world.theirs, ABSENT):
        label = {"example_id": ids["example_id"], "label": "a", "batch_id": ids["job_id"]}
        hook = {"url": "https://receiver.example/", "events": ["query.failed"], "project_id": ids["project_id"]}
        paths = {f"/v1/projects/{world.mine['project_id']}/labels": {"labels": [label]}, "/v1/webhooks": hook}
        sent = [world.api.http.post(path, json=body, headers=mine) for path, body in paths.items()]
        assert [answer.status_code for answer in sent] == [422, 422]
        answers.append(str([answer.json()["errors"] for answer in sent]).replace(ids["example_id"], ""))
    assert answers[0] == answers[1]


def test_page_tokens_are_tied_to_their_list_and_reader(world: World) -> None:
    """A token is refused elsewhere: of another project, another list, or another reader's view of the same list."""
    api = world.api
    mine = api.key(*SCOPES, project_id=world.mine["project_id"])
    for path in ("/v1/projects", "/v1/webhooks"):
        token = api.http.get(path, params={"page_size": 1}).json()["next_page_token"]
        assert token is not None
        _check(api.http.get(path, params={"page_token": token}, headers=mine), 400, "malformed-request", path)
    for part in ("examples", "jobs"):
        base = f"/v1/projects/{world.theirs['project_id']}/{part}"
        api.http.post(f"/v1/projects/{world.theirs['project_id']}/queries", json={"k": 2})
        token = api.http.get(base, params={"page_size": 1}).json()["next_page_token"]
        assert token is not None
        here = f"/v1/projects/{world.mine['project_id']}/{part}"
        _check(api.http.get(here, params={"page_token": token}, headers=mine), 400, "malformed-request", part)


def test_an_idempotency_key_is_its_owners_own(world: World) -> None:
    api = world.api
    first, second = api.key("project:write"), api.key("project:write")
    body = {
        "name": "one",
        "task": {"type": "classification", "classes": ["a", "b"]},
        "features": {"type": "vector", "dimensions": 2},
    }
    made = api.http.post("/v1/projects", json=body, headers={**first, "Idempotency-Key": "same"})
    other = api.http.post("/v1/projects", json={**body, "name": "two"}, headers={**second, "Idempotency-Key": "same"})
    again = api.http.post("/v1/projects", json=body, headers={**first, "Idempotency-Key": "same"})
    assert (made.status_code, other.status_code) == (201, 201)
    assert made.json()["id"] == again.json()["id"] != other.json()["id"]
