from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.api.deps.runtime import Runtime
from service.app import build
from tests.support.runtime import make_api, make_runtime
from tests.support.tenants import operations

HERE = ("127.0.0.1", 5000)


def asked(runtime: Runtime, client: tuple[str, int], host: str, path: str = "/metrics", **headers: str) -> Response:
    """Answered to who is there, and calls the API by that name."""
    http = TestClient(build(runtime), base_url=f"http://{host}", client=client)
    return http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.8.9.1", "localhost"),
        ("::1", "[::1]:8000"),
        ("::ffff:127.0.0.1", "LOCALHOST:8000"),
    ],
)
def test_a_neighbour_needs_no_key(runtime: Runtime, peer: str, host: str) -> None:
    answer = asked(runtime, (peer, 5000), host)
    assert answer.status_code == 200
    assert "gleaner_store_up" in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics"])
@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "testclient", ""])
def test_whoever_is_elsewhere_needs_one(runtime: Runtime, peer: str, path: str) -> None:
    assert asked(runtime, (peer, 5000), "127.0.0.1", path).status_code == 401


@pytest.mark.parametrize("path", ["/metrics/", "/metrics%0A", "/metrics%0A%0A"])
def test_nothing_but_the_path_itself_is_free(runtime: Runtime, path: str) -> None:
    assert asked(runtime, HERE, "127.0.0.1", path).status_code == 401


@pytest.mark.parametrize("host", ["gleaner.example", "10.0.0.1:8000", "127.0.0.1.example", "[::1", "", "localhost."])
def test_who_calls_the_machine_by_another_name_may_be_the_page_of_a_stranger(runtime: Runtime, host: str) -> None:
    assert asked(runtime, HERE, "127.0.0.1", Host=host).status_code == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_Forwarded_For", "127.0.0.1"),
        ("x_forwarded_for", ""),
        ("X_Forwarded_Host", "localhost"),
        ("X_Forwarded_Proto", "https"),
        ("X_Real_IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("Origin", "http://localhost"),
    ],
)
def test_who_comes_through_a_proxy_or_a_page_is_no_neighbour(runtime: Runtime, name: str, value: str) -> None:
    assert asked(runtime, HERE, "127.0.0.1", **{name: value}).status_code == 401


def test_there_are_no_neighbours_where_a_proxy_is_in_front(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, public_url="https://gleaner.example")
    assert asked(runtime, HERE, "127.0.0.1").status_code == 401
    runtime.database.close()


def test_a_key_of_a_neighbour_is_not_looked_at(runtime: Runtime) -> None:
    assert asked(runtime, HERE, "127.0.0.1", Authorization="Bearer gln_unknown").status_code == 200


def test_nothing_else_is_free(runtime: Runtime) -> None:
    found = operations(make_api(runtime).http.get("/openapi.json").json())
    free = [one.path for one in found if one.rule and one.rule.get("free_here")]
    assert free == ["/metrics"]
    assert asked(runtime, HERE, "127.0.0.1", "/v1/projects").status_code == 401
