"""The HTTP protocol of the server, with bounds on what a slow or greedy client may hold.

uvicorn waits for ever for the head of a request, for its body, also when that was answered long ago, and for a client
that does not read its answer. Its faster parser takes heads, trailers and the framing of chunks of any size, and any
number of requests at once. Here each has its bound, and what is over it is answered as a problem.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, Literal

import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.problems import MEDIA_TYPE
from service.api.schemas.base import problem_document
from service.cli.configuration import load_settings
from service.errors import GleanerError, HeadTooLargeError, MalformedRequestError, RequestTimeoutError, UnavailableError
from service.settings import Settings
from service.telemetry import logger

TICK_SECONDS = 1.0
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_FRAMING_BYTES = 64 * 1024  # extensions and trailers of a chunked body, without a byte of the body itself
MAX_WAITING = 500  # requests behind the one that is being answered
LINGER_SECONDS = 5.0
FULL = "More connections are open than this server takes."

_log = logger(__name__)


@dataclass
class Bounds:
    """What the connections of one process may hold, and who holds how many."""

    settings: Settings
    held: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> bool:
        """Count a connection; returns whether there is room for it."""
        self.held[address] += 1
        most, most_each = self.settings.max_connections, self.settings.max_connections_per_address
        return self.held.total() <= most and self.held[address] <= most_each

    def leave(self, address: str) -> None:
        """Forget a connection."""
        self.held[address] -= 1
        if not self.held[address]:
            del self.held[address]


@cache
def process_bounds() -> Bounds:
    """The bounds of this process."""
    return Bounds(load_settings())


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools, which a client cannot hold open without end.

    Time is counted in ticks of the process itself, so that clients are not blamed when it was frozen.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count the connection, and start to watch it."""
        super().connection_made(transport)
        self._bounds = process_bounds()
        self._address = self.client[0] if self.client else ""
        self._phase: Literal["idle", "head", "body"] = "head"
        self._head_bytes = 0
        self._framing_bytes = 0
        self._restart()
        self._unsent = 0
        self._unsent_ticks = 0
        self._room = self._bounds.enter(self._address)
        self._watch = self.loop.call_later(TICK_SECONDS, self._tick)
        if self._bounds.held.total() > 2 * self._bounds.settings.max_connections:
            transport.abort()  # not even the head of its request can be waited for

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch it."""
        self._watch.cancel()
        self._bounds.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, in the phase that the data belong to."""
        if self._phase == "idle":
            self._enter("head")
        self._received += len(data)
        if self._phase == "head":
            self._head_bytes += len(data)
        self._framing_bytes += len(data)
        super().data_received(data)
        if self._phase == "head" and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLargeError(f"The head of the request is larger than {MAX_HEAD_BYTES} bytes."))
        if self._phase == "body" and self._framing_bytes > MAX_FRAMING_BYTES:
            self._refuse(MalformedRequestError(f"The body has over {MAX_FRAMING_BYTES} bytes that are none of it."))

    def on_message_begin(self) -> None:
        """A request begins, perhaps right behind another."""
        if self._phase != "head":
            self._enter("head")
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what follows a chunked body is none, though uvicorn would add it to the others."""
        if self._phase == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Judge the head; the body follows."""
        if self.transport.is_closing():
            return
        if len(self.pipeline) >= MAX_WAITING:
            _log.info("greedy_pipeline_cut_off", client=self._address)
            self.transport.abort()
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            detail = f"The head of a request may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers."
            self._refuse(HeadTooLargeError(detail))
            return
        self._enter("body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless the head was refused."""
        self._framing_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._enter("idle")
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is given; what is left of the body has little time to come."""
        self._restart()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        if not self.transport.is_closing():
            self._refuse(MalformedRequestError(msg))

    def resume_writing(self) -> None:
        """The client reads its answer."""
        self._unsent_ticks = 0
        super().resume_writing()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        chosen: Any = app if self._room else refuse_for_room
        super()._start_asgi_task(cycle, chosen)

    def _enter(self, phase: Literal["idle", "head", "body"]) -> None:
        self._phase = phase
        self._head_bytes = 0
        self._framing_bytes = 0
        self._restart()

    def _restart(self) -> None:
        self._ticks = 0
        self._received = 0

    def _tick(self) -> None:
        self._watch = self.loop.call_later(TICK_SECONDS, self._tick)
        settings = self._bounds.settings
        self._ticks += 1
        if self._phase == "head" and self._ticks * TICK_SECONDS >= settings.head_timeout_seconds:
            self._refuse(RequestTimeoutError("The head of the request took too long."))
        elif self._phase == "body":
            self._watch_body()
        self._watch_answer()

    def _watch_body(self) -> None:
        settings = self._bounds.settings
        if self.cycle.response_complete:
            if self._ticks * TICK_SECONDS >= LINGER_SECONDS:
                _log.info("answered_body_cut_off", client=self._address)
                self.transport.close()
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._restart()  # it is us who are slow
        elif self._ticks * TICK_SECONDS >= settings.stall_seconds:
            if self._received < settings.min_bytes_per_second * settings.stall_seconds:
                least = settings.min_bytes_per_second
                self._refuse(RequestTimeoutError(f"The body came at less than {least} bytes a second."))
            self._restart()

    def _watch_answer(self) -> None:
        """Cut off a client that does not read what it asked for; closing alone would wait for it."""
        settings = self._bounds.settings
        unsent = self.transport.get_write_buffer_size()
        if self._unsent_ticks == 0 or not unsent:
            self._unsent = unsent
        self._unsent_ticks = self._unsent_ticks + 1 if unsent else 0
        if self._unsent_ticks * TICK_SECONDS > settings.stall_seconds:
            if self._unsent - unsent < settings.min_bytes_per_second * settings.stall_seconds:
                _log.info("slow_reader_cut_off", client=self._address)
                self.transport.abort()
            self._unsent_ticks = 0

    def _refuse(self, error: GleanerError) -> None:
        """Answer without the application, unless it has begun to answer, and close."""
        if self.transport.is_closing():
            return
        _log.info("connection_refused", client=self._address, problem=error.name)
        if self._may_answer():
            self.transport.write(_answer(error))
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether the next answer of the connection is that of the request which is being read."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it never None
        if cycle is None:
            return True
        if self._phase == "body":
            return not self.pipeline and not cycle.response_started
        return cycle.response_complete


async def refuse_for_room(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's interface
    """Answer a request on a connection too many."""
    error = UnavailableError(FULL)
    body = _body(error)
    headers = [(name.encode(), value.encode()) for name, value in _headers(error, body).items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _answer(error: GleanerError) -> bytes:
    body = _body(error)
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in _headers(error, body).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _body(error: GleanerError) -> bytes:
    base = process_bounds().settings.public_url
    return orjson.dumps(problem_document(base, error, detail=error.detail))


def _headers(error: GleanerError, body: bytes) -> dict[str, str]:
    wait = {"retry-after": "2"} if error.status == UnavailableError.status else {}
    return {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close", **wait}
