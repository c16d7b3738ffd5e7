"""What happens around every request: its id and log line, its size limit, its caller."""

import re
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

import structlog
from fastapi import Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.actions.keys import Caller
from service.api.problems import on_database, respond
from service.api.schemas.base import natural
from service.api.schemas.openapi import METRICS, needs_key
from service.db.types import new_id
from service.errors import GleanerError, PayloadTooLargeError, UnauthenticatedError
from service.metrics import NO_ROUTE, ApiMetrics
from service.security.neighbours import is_neighbour
from service.telemetry import logger
from service.tracing.context import HEADER, Span, span, taken_up

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_BULK_PATH = re.compile(r"/v1/projects/[^/]+/(examples|labels|predictions)/?")
_NAMED = re.compile(r"/v1/(?:projects/(?P<project_id>[^/]+)|jobs/(?P<job_id>[^/]+))")
_JOB = "/v1/jobs/"
_WELL, _ACCEPTED = 200, 202
_PROBES = ("/livez", "/readyz")  # asked every few seconds, by each proxy and orchestrator
_PREDICT_PATH = re.compile(r"/v1/projects/[^/]+/models/[^/]+/predict/?")
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
_PAGE_HOST = "https://cdn.jsdelivr.net"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_log = logger("service.access")


def _policy(page: bytes) -> str:
    """What the only page, that of the documentation, may load and run: its own script is named by its hash."""
    scripts = _INLINE_SCRIPT.findall(page)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return (
        f"{_NO_PAGE}; script-src {_PAGE_HOST} {hashes}; style-src {_PAGE_HOST} 'unsafe-inline'; "
        "img-src data: https://fastapi.tiangolo.com; connect-src 'self'"
    )


class RequestContext:
    """Gives each request an id (the client's own if it is safe) and a trace, counts it, and writes its line to the log.

    No answer can be taken for a page but the documentation, which may run its own scripts only.
    """

    def __init__(self, app: ASGIApp, *, page: bytes, metrics: ApiMetrics) -> None:
        self.app = app
        self.metrics = metrics
        self.page_policy = _policy(page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wanted = headers.get("x-request-id", "")
        request_id = wanted if _REQUEST_ID.fullmatch(wanted) else new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        with (
            span(scope["method"], "server", parent=taken_up(headers.get(HEADER, ""))) as serving,
            structlog.contextvars.bound_contextvars(
                request_id=request_id, trace_id=serving.trace_id, **_named(scope["path"])
            ),
        ):
            await self._serve(scope, receive, send, serving)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, serving: Span) -> None:
        status = 500
        accepted: dict[str, str] = {}
        started = time.perf_counter()
        request_id = scope["state"]["request_id"]

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                html = headers.get("content-type", "").startswith("text/html")
                headers["Content-Security-Policy"] = self.page_policy if html else _NO_PAGE
                if status == _ACCEPTED and (location := headers.get("location", "")).startswith(_JOB):
                    accepted["job_id"] = location.removeprefix(_JOB)
            await send(message)

        self.metrics.began()
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            method, route = scope["method"], getattr(scope.get("route"), "path", NO_ROUTE)
            self.metrics.ended(method, route, status, seconds=seconds)
            told: dict[str, str | int] = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
            }
            serving.tell(f"{method} {route}", **told, **accepted)
            milliseconds = round(seconds * 1000, 1)
            tell = _log.debug if route in _PROBES and status == _WELL else _log.info
            tell("request", method=method, path=scope["path"], status=status, ms=milliseconds, **accepted)


def _named(path: str) -> dict[str, str]:
    """The project or job that a path is about."""
    found = _NAMED.match(path)
    return {} if found is None else {name: value for name, value in found.groupdict().items() if value}


class HeadAsGet:
    """Answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
            elif not ended:
                ended = True  # the server then tells a stream that nobody reads on
                await send({"type": "http.response.body", "body": b""})

        asked = {**scope, "method": "GET"}
        await self.app(asked, receive, send_head)
        scope["route"] = asked.get("route")


class BodyLimit:
    """Stops bodies over the limit, told by Content-Length or counted as they come."""

    def __init__(self, app: ASGIApp, *, ordinary: int, vectors: int, bulk: int) -> None:
        self.app = app
        self.ordinary = ordinary
        self.vectors = vectors
        self.bulk = bulk

    def _limit(self, scope: Scope) -> int:
        if scope["method"] != "POST":
            return self.ordinary
        if _BULK_PATH.fullmatch(scope["path"]):
            return self.bulk
        return self.vectors if _PREDICT_PATH.fullmatch(scope["path"]) else self.ordinary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope)
        detail = f"The body is larger than {limit} bytes."
        told = Headers(scope=scope).get("content-length", "0")
        if (natural(told) or 0) > limit:
            await respond(Request(scope), PayloadTooLargeError(detail))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, detail)
            return message

        await self.app(scope, counted, send)


class Authentication:
    """Nearly everything needs a key; who calls is known before a byte of the body is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        find: Callable[[str], Caller | None],
        authenticate: Callable[[str], Caller],
        has_neighbours: bool,
    ) -> None:
        self.app = app
        self.has_neighbours = has_neighbours  # who asks over a loopback address is on this machine
        self.find = find  # at once, or not at all
        self.authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not needs_key(scope["path"]):
            await self.app(scope, receive, send)
            return
        if self.has_neighbours and scope["path"] == METRICS and is_neighbour(scope.get("client"), Headers(scope=scope)):
            scope["state"]["is_neighbour"] = True
            await self.app(scope, receive, send)
            return
        try:
            secret = _bearer(Headers(scope=scope).get("authorization", ""))
            who = self.find(secret) or await run_in_threadpool(self.authenticate, secret)
            scope["state"]["caller"] = who
        except UnauthenticatedError as error:
            error.headers["WWW-Authenticate"] = "Bearer"
            await respond(Request(scope), error)(scope, receive, send)
        except GleanerError as error:
            await respond(Request(scope), error)(scope, receive, send)
        except (DBAPIError, PoolTimeoutError) as error:
            await on_database(Request(scope), error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _bearer(header: str) -> str:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise UnauthenticatedError("Send `Authorization: Bearer gln_...`.")
    return secret.strip()
