"""A session of the real service, after which no secret is found anywhere but where it belongs."""

import base64
import http.server
import os
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from service.cli.supervisor import gleaner_command
from service.security.keys import generate
from tests.support import processes
from tests.support.ports import HeldPort
from tests.support.redis_server import PATIENCE_SECONDS, running_redis, wait_until
from tests.support.stack import Client, Stack, filled
from tests.support.stopwatch import Stopwatch

SEAL = "Zk3-seal-9f8e7d6c5b4a39281706f5e4"
REDIS_PASSWORD = "rp5Fq2Zr8Wx1"  # noqa: S105 - of this test's own server
SQL_PASSWORD = "sq7Lm4Kd9Tb3"  # noqa: S105 - of no server
REVOKED_WITHIN_SECONDS = 5.0


class _Failing(http.server.BaseHTTPRequestHandler):
    """Fails the first delivery of each connection's webhook, and tells the body back."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()
        thread.join()


def _spellings(secrets: set[str]) -> set[bytes]:
    """The secrets, and the bytes and encodings by which they could be found all the same."""
    found = {secret.encode() for secret in secrets}
    for secret in secrets:
        bare = secret.removeprefix("whsec_").removeprefix("gln_")
        found |= {bare.encode(), base64.b64encode(secret.encode()).rstrip(b"=")}
        if secret.startswith("whsec_"):
            raw = base64.b64decode(bare)
            found |= {raw, raw.hex().encode(), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    return found


def _session(client: Client, admin: str, url: str) -> tuple[set[str], list[httpx.Response]]:
    """Do everything that handles a secret, rightly and wrongly; returns the secrets and what answers told of them."""
    call = client.http.request
    body = {"name": "tool", "scopes": ["read"]}
    made = call("POST", "/v1/keys", json=body, headers={"Idempotency-Key": "once"})
    rotated = call("POST", f"/v1/keys/{made.json()['id']}/rotate", json={})
    hook = call("POST", "/v1/webhooks", json={"url": url, "events": ["query.succeeded"]})
    path = f"/v1/webhooks/{hook.json()['id']}"
    again = call("POST", f"{path}/rotate-secret", json={}, headers={"Idempotency-Key": "twice"})
    key, secret = rotated.json()["key"], again.json()["secret"]
    told = [
        call("POST", "/v1/keys", json=body, headers={"Idempotency-Key": "once"}),
        call("POST", f"{path}/rotate-secret", json={}, headers={"Idempotency-Key": "twice"}),
        call("POST", f"{path}/test", json={}),
        call("GET", "/v1/projects", headers={"Authorization": f"Bearer {key}A"}),
        call("GET", "/v1/projects", headers={"Authorization": f"Basic {key}"}),
        call("GET", f"/v1/keys/{key}"),
        call("GET", f"/{admin}"),
        call("GET", f"/v1/projects?api_key={key}"),
        call("GET", f"/v1/projects?{key}={secret}"),
        call("GET", f"/v1/projects?page_size={key}"),
        call("GET", f"/v1/projects?page_token={secret.removeprefix('whsec_')}"),
        call("POST", "/v1/projects", json={key: secret, "name": 1}),
        call("POST", "/v1/keys", content=f'{{"name": "{secret}', headers={"Content-Type": "application/json"}),
        call("PUT", "/v1/keys"),
        *(call("GET", place) for place in ("/metrics", "/openapi.json", "/readyz", "/v1/keys", "/v1/webhooks")),
    ]
    job_id = client.query(filled(client, rows=20, labelled=10))
    client.succeeded(job_id)
    wait_until(lambda: len(call("GET", f"{path}/deliveries").text.split('"status":500')) > 1)
    told.append(call("GET", f"{path}/deliveries"))
    secrets = {made.json()["key"], key, hook.json()["secret"], secret, admin, SEAL, REDIS_PASSWORD}
    return secrets, told


def _places(stack: Stack, queue: redis.Redis, told: list[httpx.Response]) -> Iterator[tuple[str, bytes]]:
    """Everything that could hold a secret and must not."""
    for answer in told:
        yield (
            f"answer to {answer.request.method} {answer.request.url.path}",
            answer.content + str(answer.headers).encode(),
        )
    for path in stack.folder.rglob("*"):
        if path.is_file() and path.name != "admin-key":
            yield str(path), path.read_bytes()
    with sqlite3.connect(stack.folder / "gleaner.sqlite3") as connection:
        yield "tables", "\n".join(connection.iterdump()).encode()
    for name in queue.scan_iter("*"):
        yield f"redis {name!r}", name + queue.dump(name) + _plain(queue, name)
    for process in processes.of_folder(stack.folder):
        yield f"command line of {process.pid}", " ".join(process.words).encode()


def _plain(queue: redis.Redis, name: bytes) -> bytes:
    """What `DUMP` would show compressed."""
    kind = queue.type(name)
    if kind == b"hash":
        return repr(queue.hgetall(name)).encode()
    return repr(queue.get(name)).encode() if kind == b"string" else b""


def _second_api(stack: Stack, admin: str, port: int) -> Client:
    stack.add("serve", "--port", str(port))
    other = Client(f"http://127.0.0.1:{port}", admin)

    def is_up() -> bool:
        try:
            return other.http.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(is_up)
    return other


def _check_revocation(here: Client, there: Client) -> None:
    """A key that both processes have seen is refused by both soon after one of them revoked it."""
    made = here.http.post("/v1/keys", json={"name": "gone", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    for client in (here, there, here, there):
        assert client.http.get("/v1/projects", headers=headers).status_code == 200
    assert here.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    with Stopwatch() as ending:
        for client in (here, there):
            wait_until(lambda client=client: client.http.get("/v1/projects", headers=headers).status_code == 401)  # type: ignore[misc]
    assert ending.seconds < REVOKED_WITHIN_SECONDS


def test_no_secret_is_found_after_a_session_and_a_revoked_key_ends_in_every_process() -> None:
    admin = generate()
    with (
        running_redis() as server,
        _receiver() as url,
        HeldPort() as port,
        tempfile.TemporaryDirectory(prefix="gleaner-") as folder,
    ):
        queue = redis.Redis(unix_socket_path=str(server.socket))
        queue.config_set("requirepass", REDIS_PASSWORD)
        queue = redis.Redis(unix_socket_path=str(server.socket), password=REDIS_PASSWORD)
        redis_url = f"unix://:{REDIS_PASSWORD}@{server.socket}"
        key_file = Path(folder) / "admin-key"
        key_file.touch(0o600)
        key_file.write_text(admin)
        stack = Stack(
            Path(folder), log_level="debug", secret_key=SEAL, redis_url=redis_url, webhook_allow="127.0.0.0/8"
        )
        try:
            stack.start()
            secrets, told = _session(stack.client, admin, url)
            other = _second_api(stack, admin, port)
            _check_revocation(stack.client, other)
            other.http.close()
            assert {answer.status_code for answer in told} >= {201, 200, 202, 400, 401, 404, 405, 422}
            assert queue.dbsize() > 0
            sought = _spellings(secrets)
            leaks = [
                (place, secret) for place, held in _places(stack, queue, told) for secret in sought if secret in held
            ]
            assert leaks == []
            assert b'"event"' in stack.log.read_bytes()
        finally:
            stack.clear()


@pytest.mark.parametrize("role", ["migrate", "dispatcher"])
def test_passwords_of_stores_are_not_told_when_they_cannot_be_reached(role: str, tmp_path: Path) -> None:
    settings = {
        "GLEANER_DATA_DIR": str(tmp_path / "data"),
        "GLEANER_DATABASE_URL": f"sqlite:////nowhere/{role}?password={SQL_PASSWORD}",
        "GLEANER_REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0",
        "GLEANER_LOG_LEVEL": "debug",
        "GLEANER_SECRET_KEY": SEAL,
    }
    told = tmp_path / "told"
    with told.open("wb") as log:
        process = subprocess.Popen(
            gleaner_command(role), env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
        )
    try:  # one of them gives up, the other tries again until it is stopped
        wait_until(lambda: process.poll() is not None or b"lease_not_renewed" in told.read_bytes())
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    output = told.read_bytes()
    assert b"unable to open database file" in output
    assert not [secret for secret in (SQL_PASSWORD, REDIS_PASSWORD, SEAL) if secret.encode() in output]
