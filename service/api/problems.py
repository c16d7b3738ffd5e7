"""Every error is answered as `application/problem+json`, by one function."""

import errno
import re
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route

from service.api.schemas.base import fields_at, problem_document
from service.catalog.names import known_are, meant
from service.concealing import conceal
from service.errors import (
    FieldError,
    ForbiddenError,
    GleanerError,
    IdempotencyInProgressError,
    IdempotencyMismatchError,
    InvalidRequestError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    RowsRejectedError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from service.telemetry import logger

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20
_log = logger(__name__)


def respond(request: Request, error: GleanerError) -> Response:
    """The HTTP answer of an error."""
    body = problem_document(base_url(request), error, detail=error.detail)
    body["request_id"] = request.scope.get("state", {}).get("request_id", "")
    if error.errors:
        body["errors"] = [bad.as_dict() for bad in error.errors[:MOST_ERRORS]]
    headers = {**error.headers, "X-Request-Id": body["request_id"]}
    if error.status in {429, 503}:
        headers.setdefault("Retry-After", "2")
    return Response(orjson.dumps({**error.extra, **body}), error.status, headers, MEDIA_TYPE)


def base_url(request: Request) -> str:
    """How the client reaches this service."""
    public: str = request.app.state.runtime.settings.public_url
    return public or str(request.base_url)


def install(app: FastAPI) -> None:
    """Route every kind of failure through `respond`."""
    app.add_exception_handler(GleanerError, _on_gleaner)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(DBAPIError, on_database)
    app.add_exception_handler(PoolTimeoutError, on_database)
    app.add_exception_handler(OSError, _on_system)
    app.add_exception_handler(Exception, on_fault)


def _on_gleaner(request: Request, error: Exception) -> Response:
    assert isinstance(error, GleanerError)  # noqa: S101 - narrows what add_exception_handler promises
    return respond(request, error)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - same
    headers = dict(error.headers or {})
    if error.status_code == MethodNotAllowedError.status:
        headers["Allow"] = ", ".join(_methods(request))
        return respond(request, MethodNotAllowedError("This path does not have this method.", headers=headers))
    if error.status_code == NotFoundError.status:
        return respond(request, NotFoundError("There is nothing at this path."))
    if error.status_code == PayloadTooLargeError.status:
        return respond(request, PayloadTooLargeError(str(error.detail)))
    return respond(request, MalformedRequestError("The request could not be read.", headers=headers))


def _methods(request: Request) -> list[str]:
    """The methods of every route with this path; the router tells those of one route only."""
    served = (route for route in request.app.routes if isinstance(route, Route))
    matching = (route for route in served if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in matching for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _on_disconnect(request: Request, _: Exception) -> Response:
    """Nobody reads the answer; the log tells its status."""
    return respond(request, MalformedRequestError("The body ended too early."))


def on_database(request: Request, error: Exception) -> Response:
    """The database is away or busy: the client may try again. Anything else is a fault of ours."""
    if isinstance(error, OperationalError | PoolTimeoutError):
        _log.warning("database_unavailable", error=str(getattr(error, "orig", error)))
        return respond(request, UnavailableError("The database is busy or not reachable."))
    return on_fault(request, error)


def _on_system(request: Request, error: Exception) -> Response:
    """A full disk may have room again, as a database that is away may be back. Anything else is a fault of ours."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        _log.warning("disk_full", error=str(error))
        return respond(request, UnavailableError("There is no room on the disk."))
    return on_fault(request, error)


def on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: told in the log, never in the answer."""
    _log.error("fault", path=request.url.path, exc_info=error)
    return respond(request, GleanerError("Something failed on our side. The request id finds it in the logs."))


def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - same
    found = error.errors()
    for item in found:
        if item["type"] == "json_invalid":
            place = item["loc"][-1] + 1
            return respond(request, MalformedRequestError(f"The body is not valid JSON at character {place}."))
    bad = [_field_error(item, request) for item in found[: MOST_ERRORS + 1]]
    detail = f"{bad[0].pointer or 'The body'}: {bad[0].detail}"
    return respond(request, InvalidRequestError(detail, errors=bad))


_CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field", "finite_number": "not_finite"}


def _field_error(item: dict[str, Any], request: Request) -> FieldError:
    """A pydantic error without the input that caused it."""
    place, *path = item["loc"]
    root = "" if place == "body" else f"/{place}"
    pointer = root + "".join(f"/{_escape(str(part))}" for part in path)
    code = _CODES.get(item["type"], item["type"])
    if code == "unknown_field":
        return FieldError(pointer, code, _unknown_field(request, *path))
    detail = item["msg"].removeprefix("Value error, ")
    return FieldError(pointer, code, _without_input(detail[:1].upper() + detail[1:]))


def _unknown_field(request: Request, *path: str | int) -> str:
    *place, name = path
    known = fields_at(request.scope["route"].body_field.field_info.annotation, place)
    if not known:
        return "This operation takes no fields."
    return f"This field is not known.{meant(str(name), known)} {known_are(known)}"


def _escape(part: str) -> str:
    clean = conceal(part.encode("utf-8", "replace").decode())[:100]
    return clean.replace("~", "~0").replace("/", "~1")


def _without_input(message: str) -> str:
    return re.sub(r"input_value=.*", "", message)[:300]


BODY = (MalformedRequestError, PayloadTooLargeError, UnsupportedMediaTypeError)
"""What any request with a JSON body can meet."""

BULK = (*BODY, NotFoundError, IdempotencyInProgressError, RowsRejectedError, IdempotencyMismatchError)
"""What any request with rows in its body can meet."""


def responses(*kinds: type[GleanerError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of these problems, with those that any request under /v1 can meet."""
    return described(
        UnauthenticatedError,
        ForbiddenError,
        InvalidRequestError,
        TooManyRequestsError,
        UnavailableError,
        *kinds,
    )


def described(*kinds: type[GleanerError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of just these problems."""
    by_status: dict[int, list[type[GleanerError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(kind.title for kind in found),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, found in sorted(by_status.items())
    }
