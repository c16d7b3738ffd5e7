"""Slow, greedy and broken clients of a real server process."""

import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from service.cli.supervisor import gleaner_command, start
from tests.support.redis_server import wait_until

pytestmark = pytest.mark.processes

SETTINGS = {
    "GLEANER_HEAD_TIMEOUT_SECONDS": "2",
    "GLEANER_STALL_SECONDS": "2",
    "GLEANER_MAX_CONNECTIONS": "400",
    "GLEANER_MAX_CONNECTIONS_PER_ADDRESS": "300",
}


class Server:
    """One API process on a free port, whose log is kept."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        environment = {"GLEANER_DATA_DIR": str(folder), "PATH": "", **SETTINGS, **settings}
        folder.chmod(0o700)
        subprocess.run(gleaner_command("migrate"), env=environment, check=True, capture_output=True)
        self.key = (folder / "admin-key").read_text().strip()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        with (folder / "log").open("wb") as log:
            self.process = start(gleaner_command("serve", "--port", str(self.port)), environment, output=log)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connect(self, data: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        made.sendall(data)
        return made

    def is_up(self) -> bool:
        try:
            return self.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def ask(self, data: bytes) -> bytes:
        """Send bytes, and read until the server closes."""
        with self.connect(data) as made:
            return read_all(made)


def read_all(made: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):  # the server closed with bytes of ours unread; what it had answered is here
        while piece := made.recv(65536):
            found += piece
    return found


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Server]:
    server = Server(folder, **settings)
    try:
        wait_until(server.is_up, 20)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as made:
        yield made


def post(server: Server, rest: str = "Content-Length: 1000000", path: str = "/v1/projects/prj_x/labels") -> bytes:
    """The head of a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    return f"{head}Content-Type: application/x-ndjson\r\n{rest}\r\n\r\n".encode()


def drip(made: socket.socket, byte: bytes, seconds: float) -> tuple[float, bytes]:
    """Send a byte every tenth of a second until the server has enough: when that was, and its answer."""
    began = time.monotonic()
    made.settimeout(0.1)
    answer = b""
    while time.monotonic() - began < seconds:
        try:
            made.sendall(byte)
            piece = made.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if not piece:
            break
        answer += piece
    return time.monotonic() - began, answer


@pytest.mark.parametrize("sent", [b"", b"GET /livez?", b"GET /livez HTTP/1.1\r\nX-A: "], ids=["idle", "line", "header"])
def test_a_head_that_drips_is_answered_and_closed(server: Server, sent: bytes) -> None:
    with server.connect(sent) as made:
        took, answer = drip(made, b"a" if sent else b"", 6)
    assert took < 5
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_body_that_drips_is_answered_and_closed(server: Server, framing: str) -> None:
    with server.connect(post(server, framing)) as made:
        took, answer = drip(made, b"1\r\na\r\n" if "chunked" in framing else b"a", 8)
    assert took < 6
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert '"fault"' not in server.log()


def test_a_steady_body_at_the_least_rate_is_taken(server: Server) -> None:
    body = b"\n" * 6000
    with server.connect(post(server, f"Content-Length: {len(body)}\r\nConnection: close")) as made:
        for start_at in range(0, len(body), 400):
            made.sendall(body[start_at : start_at + 400])
            time.sleep(0.3)
        answer = read_all(made)
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 422 "))


def test_who_leaves_in_the_middle_of_a_body_is_no_fault(server: Server) -> None:
    for _ in range(5):
        server.connect(post(server) + b"x" * 1000).close()
    wait_until(lambda: server.log().count('"path": "/v1/projects/prj_x/labels", "status": 400') >= 5, 5)
    assert '"fault"' not in server.log()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nX-Long: " + b"a" * 2_000_000 + b"\r\n\r\n", 431),
        (b"GET /livez?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /livez HTTP/9.9\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (b"POST /v1/keys HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nContent-Length: +4\r\n\r\nabcd", 400),
        (b"POST /v1/keys HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/keys HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: a\r\n folded: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\nHost: x\n\n", 400),
    ],
)
def test_heads_that_are_not_taken(server: Server, request_bytes: bytes, status: int) -> None:
    with server.connect() as made:
        with suppress(ConnectionError):  # it has read enough
            made.sendall(request_bytes)
        answer = read_all(made)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1  # nothing behind it is taken for a request
    assert b"content-type: application/problem+json" in answer.lower()


def test_chunked_bodies_with_lies_in_them_smuggle_nothing(server: Server) -> None:
    for chunk in (
        b"-1\r\n",
        b"0x5\r\nabcde\r\n",
        b"ffffffffffffffffff\r\n",
        b"5;\0\r\nabcde\r\n",
        b"2\r\nabcde\r\n0\r\n\r\n",
    ):
        request = post(server, "Transfer-Encoding: chunked") + chunk + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        assert b'{"status":"ok"}' not in server.ask(request)


def test_who_does_not_read_the_answer_is_cut_off(server: Server) -> None:
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        made.connect(("127.0.0.1", server.port))
        made.settimeout(10)
        with suppress(ConnectionError, TimeoutError):
            for _ in range(400):  # more answers than all buffers hold
                made.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "slow_reader_cut_off" in server.log(), 12)


def test_slow_connections_leave_a_healthy_client_alone(server: Server) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client, ExitStack() as held:
        client.headers["Authorization"] = f"Bearer {server.key}"
        before = p95(client)
        slow = [held.enter_context(server.connect(slow_start(server, n))) for n in range(250)]
        time.sleep(0.5)  # all are accepted
        beside = p95(client, slow)
        for made in slow:
            made.close()
        # the machine's own noise is in both halves of what it is compared with
        alone = max(before, p95(client))
        assert beside < max(2 * alone, 0.02), f"p95 {beside * 1000:.1f} ms, alone {alone * 1000:.1f} ms"


def test_connections_beyond_the_bound_are_told_so(server: Server) -> None:
    with ExitStack() as held:
        for _ in range(300):
            held.enter_context(server.connect())
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as another:
            answer = another.get("/livez")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.headers["Content-Type"] == "application/problem+json"
    wait_until(server.is_up, 8)


def slow_start(server: Server, number: int) -> bytes:
    """What a slow connection begins with: a head, a body, nothing or a request line."""
    kinds = [b"GET /livez HTTP/1.1\r\nX: a", post(server), b"", b"POST /v1/keys?"]
    return kinds[number % len(kinds)]


def p95(client: httpx.Client, slow: list[socket.socket] | None = None) -> float:
    """The 95th percentile of short requests, between which slow connections send a byte each."""
    took = []
    for turn in range(200):
        if turn % 50 == 0:
            for made in slow or []:
                with suppress(OSError):  # cut off by then
                    made.send(b"a")
        began = time.perf_counter()
        assert client.get("/v1/projects").status_code == 200
        took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=20)[-1]
