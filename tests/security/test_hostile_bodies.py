"""Bodies whose framing lies or never ends, and single values of a gigabyte, sent to a real server process."""

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.memory import growth
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.serving import Server, serving
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.processes

MEBIBYTE = 1 << 20
MOST_GROWTH = 64.0
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
LABEL = b'{"example_id": "a", "label": "a"}\n'


@dataclass(frozen=True)
class Project:
    """A project with one example, in a server process."""

    server: Server
    http: httpx.Client
    id: str

    def path(self, to: str) -> str:
        """Of its labels or examples."""
        return f"/v1/projects/{self.id}/{to}"

    def head(self, framing: str, *, to: str = "labels", media: str = NDJSON, key: str | None = None) -> bytes:
        """The head of a POST."""
        secret = self.server.key if key is None else key
        lines = [f"POST {self.path(to)} HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}"]
        return "\r\n".join([*lines, f"Content-Type: {media}", framing, "", ""]).encode()

    def counts(self) -> Any:
        """What is stored."""
        return self.http.get(f"/v1/projects/{self.id}").json()["counts"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        base = f"http://127.0.0.1:{server.port}"
        headers = {"Authorization": f"Bearer {server.key}"}
        with httpx.Client(base_url=base, trust_env=False, timeout=PATIENCE_SECONDS, headers=headers) as http:
            body = {
                "name": "hostile",
                "task": {"type": "classification", "classes": ["a", "b"]},
                "features": {"type": "text", "field": "t"},
                "retraining": {"automatic": False},
            }
            made = Project(server, http, http.post("/v1/projects", json=body).json()["id"])
            rows = {"examples": [{"id": "a", "data": {"t": "one"}}]}
            assert http.post(made.path("examples"), json=rows).json()["created"] == 1
            yield made


@dataclass(frozen=True)
class Sent:
    """How an exchange went: what was answered, after how many bytes, and when the server had enough."""

    answer: bytes
    size: int
    seconds: float
    closed: bool

    @property
    def status(self) -> int:
        """Of the first answer; 0: none was given."""
        return int(self.answer[9:12] or b"0")

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return self.answer.count(b"HTTP/1.1 ")


def send(server: Server, pieces: Iterable[bytes], *, enough: Callable[[bytes], bool] = lambda _: False) -> Sent:
    """Send until the server closes or what it answers is `enough`, and read meanwhile."""
    until, answer, size, closed = time.monotonic() + PATIENCE_SECONDS, b"", 0, False
    with server.connect() as made, Stopwatch(server.process.pid) as sending:
        for piece in pieces:
            made.settimeout(PATIENCE_SECONDS)
            try:
                made.sendall(piece)
            except (ConnectionError, TimeoutError):
                closed = True
                break
            size += len(piece)
            told, closed = _read(made, 0)
            answer += told
            if closed or enough(answer) or time.monotonic() > until:
                break
        while not closed and not enough(answer) and time.monotonic() < until:
            told, closed = _read(made, 0.1)
            answer += told
        if closed:
            answer += _rest(made)
    return Sent(answer, size, sending.seconds, closed)


def _is_whole(answer: bytes) -> bool:
    """Whether the first answer is there to its end: its head comes before its body."""
    head, ended, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return bool(ended) and length is not None and len(body) >= int(length[1])


def _are_two(answer: bytes) -> bool:
    """Whether the head of a second answer is there."""
    return answer.count(b"HTTP/1.1 ") == 2


def _read(made: socket.socket, wait: float) -> tuple[bytes, bool]:
    """What is there to read, and whether the other side has closed."""
    made.settimeout(wait)
    try:
        piece = made.recv(65536)
    except (BlockingIOError, TimeoutError):
        return b"", False
    except ConnectionError:
        return b"", True
    return piece, not piece


def _rest(made: socket.socket) -> bytes:
    """What had come before the connection was reset."""
    told, closed = b"", False
    while not closed:
        piece, closed = _read(made, 0.1)
        told += piece
        closed = closed or not piece
    return told


def test_a_body_that_goes_on_after_its_answer_is_cut_off(project: Project) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    bodies = [
        chain([project.head("Content-Length: 100000000000")], repeat(b"a" * 0x10000)),
        chain([project.head("Transfer-Encoding: chunked", key="wrong")], repeat(chunk)),
        chain([project.head("Transfer-Encoding: chunked", media="image/png")], repeat(chunk)),
        chain([project.head("Transfer-Encoding: chunked", to="nothing")], repeat(chunk)),
    ]
    with growth(project.server.process.pid) as grown, ThreadPoolExecutor(len(bodies)) as threads:
        sent = list(threads.map(partial(send, project.server), bodies))
    assert [one.status for one in sent] == [413, 401, 415, 404]
    for one in sent:
        assert one.closed
        assert one.answers == 1
        assert one.seconds < 8
    assert grown.mebibytes < MOST_GROWTH


def test_the_rest_of_a_body_may_come_after_its_answer(project: Project) -> None:
    head = project.head("Content-Length: 300000", key="wrong")
    another = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    sent = send(project.server, [head, *[b"a" * 100_000] * 3, another])
    assert (sent.status, sent.answers) == (401, 2)
    assert b'{"status":"ok"}' in sent.answer


ENDLESS = {
    "trailers": (b"%x\r\n%b\r\n0\r\n" % (len(LABEL), LABEL), b"X-Trailer: %b\r\n" % (b"a" * 5000)),
    "short trailers": (b"%x\r\n%b\r\n0\r\n" % (len(LABEL), LABEL), b"A: b\r\n" * 1000),
    "one trailer": (b"%x\r\n%b\r\n0\r\nX: " % (len(LABEL), LABEL), b"a" * 65536),
    "an extension": (b"1;", b"a" * 65536),
    "the size of a chunk": (b"", b"0" * 65536),
}


@pytest.mark.parametrize("kind", list(ENDLESS))
def test_what_is_no_body_may_not_go_on_in_its_place(project: Project, kind: str) -> None:
    before = project.counts()
    begin, piece = ENDLESS[kind]
    with growth(project.server.process.pid) as grown:
        sent = send(project.server, chain([project.head("Transfer-Encoding: chunked") + begin], repeat(piece)))
    assert sent.closed
    assert sent.status in {0, 400}  # the system drops the answer when it comes while much is still being sent
    assert sent.seconds < 4
    assert grown.mebibytes < MOST_GROWTH
    assert project.counts() == before


def test_extensions_and_trailers_of_an_honest_size_are_taken(project: Project) -> None:
    body = b"%x;name=%b\r\n%b\r\n0\r\nX-Checksum: abc\r\n\r\n" % (len(LABEL), b"v" * 1000, LABEL)
    sent = send(project.server, [project.head("Transfer-Encoding: chunked\r\nConnection: close") + body])
    assert sent.status == 200


def test_a_trailer_is_no_header(project: Project) -> None:
    """Not even when the whole request has come before the application sees it, behind another."""
    ahead = b"GET /v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % project.server.key.encode()
    head = (
        b"POST /v1/projects HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    trailer = f"Authorization: Bearer {project.server.key}\r\nConnection: close\r\n".encode()
    sent = send(project.server, [ahead + head + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n"], enough=_are_two)
    assert sent.status == 200
    assert b"HTTP/1.1 401 " in sent.answer


def test_requests_without_end_behind_one_another_are_cut_off(project: Project) -> None:
    with growth(project.server.process.pid) as grown:
        sent = send(project.server, repeat(b"GET /livez HTTP/1.1\r\n\r\n" * 3000))
    assert sent.closed
    assert sent.seconds < 4
    assert grown.mebibytes < MOST_GROWTH


HIDDEN = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LABEL), LABEL)
LYING = {
    "both": ("Content-Length: 4\r\nTransfer-Encoding: chunked", HIDDEN),
    "both, turned": ("Transfer-Encoding: chunked\r\nContent-Length: 4", HIDDEN),
    "two lengths": (f"Content-Length: {len(LABEL)}\r\nContent-Length: 1", LABEL),
    "two lengths in one": (f"Content-Length: {len(LABEL)}, {len(LABEL)}", LABEL),
    "two codings": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", HIDDEN),
    "hidden coding": ("Transfer-Encoding:\x0bchunked", HIDDEN),
    "folded coding": ("Transfer-Encoding:\r\n chunked", HIDDEN),
    "folded header": (f"X-Folded: a\r\n b\r\nContent-Length: {len(LABEL)}", LABEL),
    "bare line feeds": (f"X-A: b\nContent-Length: {len(LABEL)}", LABEL),
    "hexadecimal length": (f"Content-Length: {len(LABEL):#x}", LABEL),
    "negative size": ("Transfer-Encoding: chunked", b"-1\r\n" + HIDDEN),
    "signed size": ("Transfer-Encoding: chunked", b"+" + HIDDEN),
    "prefixed size": ("Transfer-Encoding: chunked", b"0x" + HIDDEN),
    "size with a gap": ("Transfer-Encoding: chunked", b"1_0\r\n" + HIDDEN),
    "no size": ("Transfer-Encoding: chunked", b"\r\n" + HIDDEN),
    "garbage": ("Transfer-Encoding: chunked", b"\xff\xfe\r\n" + HIDDEN),
    "over 64 bits": ("Transfer-Encoding: chunked", b"10000000000000000\r\n" + HIDDEN),
    "size too small": ("Transfer-Encoding: chunked", b"2\r\n" + LABEL + b"\r\n0\r\n\r\n"),
    "chunk without its end": ("Transfer-Encoding: chunked", b"%x\r\n%b0\r\n\r\n" % (len(LABEL), LABEL)),
    "NUL in an extension": ("Transfer-Encoding: chunked", b"5;\0\r\n" + HIDDEN),
}


@pytest.mark.parametrize("kind", list(LYING))
def test_a_lie_about_a_body_is_refused_and_hides_no_request(project: Project, kind: str) -> None:
    before = project.counts()
    framing, body = LYING[kind]
    behind = project.head(f"Content-Length: {len(LABEL)}") + LABEL
    sent = send(project.server, [project.head(framing) + body + behind])
    assert sent.closed
    assert sent.seconds < 5
    assert sent.answers == 1
    assert sent.status == 400
    assert project.counts() == before


ENDLESS_VALUES = {
    "a line of NDJSON": ("labels", NDJSON, b'{"example_id": "a", "label": "', b"", b"Line 1 "),
    "a line of examples": ("examples", NDJSON, b'{"id": "b", "data": {"t": "x"}}\n{"id": "', b"", b"Line 2 "),
    "a field of CSV": ("examples", CSV, b"id,t\nb,x\nc,", b"", b"Line 3 "),
    "a value of JSON": ("examples", JSON, b'{"examples": [{"id": "b", "data": {"t": "', b"", b"A JSON document "),
    "spaces in JSON": ("labels", JSON, b'{"labels": [', b" " * MEBIBYTE, b"A JSON document "),
}


@pytest.mark.parametrize("kind", list(ENDLESS_VALUES))
def test_a_value_of_a_gigabyte_is_refused_long_before_its_end(project: Project, kind: str) -> None:
    before = project.counts()
    to, media, begin, piece, told = ENDLESS_VALUES[kind]
    head = project.head(f"Content-Length: {1 << 30}", to=to, media=media)
    with growth(project.server.process.pid) as grown:
        sent = send(project.server, chain([head + begin], repeat(piece or b"a" * MEBIBYTE, 1023)), enough=_is_whole)
    assert sent.status == 413
    assert sent.seconds < 8
    assert told in sent.answer
    assert sent.size < 100 * MEBIBYTE
    assert grown.mebibytes < MOST_GROWTH
    assert project.counts() == before


def test_a_value_that_must_be_read_to_its_end_is_not_held(project: Project) -> None:
    """In partial mode the rows around a line that is too long are good."""
    line = chain([b'{"id": "long", "data": {"t": "'], repeat(b"a" * MEBIBYTE, 1024), [b'"}}\n'])
    body = chain(line, [b'{"id": "short", "data": {"t": "two"}}\n'])
    with growth(project.server.process.pid) as grown:
        answer = project.http.post(
            project.path("examples?mode=partial"),
            content=body,
            headers={"Content-Type": NDJSON},
            timeout=PATIENCE_SECONDS,
        ).json()
    assert (answer["created"], answer["rejected"]) == (1, 1)
    assert (answer["errors"][0]["line"], answer["errors"][0]["code"]) == (1, "too_long")
    assert grown.mebibytes < MOST_GROWTH


def test_the_longest_document_with_one_long_value_is_not_held(project: Project) -> None:
    body = chain([b'{"examples": [{"id": "'], repeat(b"a" * MEBIBYTE, 62), [b'"}]}'])
    with growth(project.server.process.pid) as grown:
        answer = project.http.post(
            project.path("examples"), content=body, headers={"Content-Type": JSON}, timeout=PATIENCE_SECONDS
        )
    assert answer.status_code == 413
    assert "One row of the body" in answer.json()["detail"]
    assert grown.mebibytes < MOST_GROWTH


def test_the_server_came_through_it(project: Project) -> None:
    """It is the same process, with no fault in its log, and no body is left on its disk."""
    assert project.server.process.poll() is None
    assert '"fault"' not in project.server.log()
    assert "Traceback" not in project.server.log()
    assert [
        path for path in Path(project.server.folder).rglob("*") if path.is_file() and path.stat().st_size > MEBIBYTE
    ] == []
