"""Slow, greedy and broken clients of a real server process."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.serving import Server, is_cut_off, post, read_all, serving, slow_start, trickle
from tests.support.stopwatch import Stopwatch, assert_within

pytestmark = pytest.mark.processes


@contextmanager
def open_files(most: int) -> Iterator[None]:
    """What starts meanwhile may open so few files, unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as held:
        with open_files(most=128):
            made = held.enter_context(serving(tmp_path_factory.mktemp("server")))
        yield made


def client_of(server: Server) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=PATIENCE_SECONDS)


def drip(made: socket.socket, byte: bytes) -> bytes:
    """Send a byte every tenth of a second until the server has enough; its answer."""
    until = time.monotonic() + PATIENCE_SECONDS
    made.settimeout(0.1)
    answer = b""
    while time.monotonic() < until:
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
    return answer


@pytest.mark.parametrize("sent", [b"", b"GET /livez?", b"GET /livez HTTP/1.1\r\nX-A: "], ids=["idle", "line", "header"])
def test_a_head_that_drips_is_answered_and_closed(server: Server, sent: bytes) -> None:
    with server.connect(sent) as made, Stopwatch(server.process.pid) as dripping:
        answer = drip(made, b"a" if sent else b"")
    assert dripping.seconds < 5
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_body_that_drips_is_answered_and_closed(server: Server, framing: str) -> None:
    with server.connect(post(server, framing)) as made, Stopwatch(server.process.pid) as dripping:
        answer = drip(made, b"1\r\na\r\n" if "chunked" in framing else b"a")
    assert dripping.seconds < 6
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
    told = '"path": "/v1/projects/prj_x/labels", "status": 400'
    assert_within(5, lambda: server.log().count(told) >= 5, server.process.pid)
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
        made.settimeout(PATIENCE_SECONDS)
        with suppress(ConnectionError, TimeoutError):
            for _ in range(400):  # more answers than all buffers hold
                made.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert_within(12, lambda: "slow_reader_cut_off" in server.log(), server.process.pid)


def test_slow_connections_keep_nobody_from_an_answer(server: Server) -> None:
    with client_of(server) as client, ExitStack() as held:
        client.headers["Authorization"] = f"Bearer {server.key}"
        slow = [held.enter_context(server.connect(slow_start(server, n))) for n in range(250)]
        for turn in range(100):
            if turn % 25 == 0:
                trickle(slow)
            assert client.get("/v1/projects").status_code == 200
        assert_within(15, lambda: all(is_cut_off(made) for made in slow), server.process.pid)


def test_connections_beyond_the_bound_are_told_so(server: Server) -> None:
    with ExitStack() as held:
        for _ in range(300):
            held.enter_context(server.connect())
        for _ in range(20):
            with client_of(server) as another:
                answer = another.get("/livez")
            if answer.status_code == 503:
                break
            for _ in range(20):  # the first were cut off before the last had come
                held.enter_context(server.connect())
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert_within(8, server.is_up, server.process.pid)


def test_a_low_limit_of_open_files_is_raised_for_the_connections(server: Server) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as held:
        for _ in range(200):
            made = held.enter_context(server.connect(request))
            assert made.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert "Too many open files" not in server.log()
