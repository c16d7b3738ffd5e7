"""The edge of a changing request: its Idempotency-Key, its transaction, its answer."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response
from sqlalchemy.orm import Session

from service.actions import idempotency
from service.actions.idempotency import Answer, Reservation
from service.api.deps.callers import Identified
from service.api.deps.held import Held
from service.api.deps.parameters import IdempotencyKey
from service.api.deps.runtime import Runtime, utc_now
from service.api.schemas.base import Schema
from service.errors import UnsupportedMediaTypeError

Made = TypeVar("Made")


class Edge:
    """One changing request: its Idempotency-Key, its transaction and its answer.

    The answer is kept in the transaction of the effect, and sent after the commit.
    """

    def __init__(self, held: Runtime, *, owner: str, key: str | None, request_hash: str) -> None:
        self.held = held
        self.now = utc_now()
        self.owner = owner
        self.key = key
        self.request_hash = request_hash
        self.lease = timedelta(seconds=held.settings.idempotency_lease_seconds)

    def answer(
        self,
        action: Callable[[Session], Made],
        *,
        render: Callable[[Made], Schema | None],
        status: int = 200,
        headers: Callable[[Made], dict[str, str]] = lambda _: {},
        secrets: frozenset[str] = frozenset(),
    ) -> Response:
        """Do `action` in a transaction and answer with what `render` makes of its result.

        `secrets` names fields that a replayed answer leaves out.
        """
        reserved = self.reserve()
        if isinstance(reserved, Answer):
            return replay(reserved)
        try:
            with self.held.write() as session:
                made = action(session)
                body = render(made)
                answer = Answer(status, headers(made), b"" if body is None else body.render())
                self.keep(session, reserved, answer, body=body, secrets=secrets)
        except BaseException:
            self.release(reserved)
            raise
        return respond(answer)

    def reserve(self) -> Reservation | Answer | None:
        """Reserve the request's Idempotency-Key, if it has one, in a transaction of its own."""
        if self.key is None:
            return None
        with self.held.database.write() as session:
            return idempotency.reserve(
                session,
                owner=self.owner,
                key=self.key,
                request_hash=self.request_hash,
                lease=self.lease,
                now=utc_now(),
            )

    def keep(
        self,
        session: Session,
        reserved: Reservation | None,
        answer: Answer,
        *,
        body: Schema | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        """Complete the reservation in the transaction of the effect."""
        if reserved is None:
            return
        if body is not None and secrets:
            shown = body.model_copy(update=dict.fromkeys(secrets))
            answer = Answer(answer.status, answer.headers, shown.render())
        idempotency.complete(session, reserved, answer)

    def release(self, reserved: Reservation | None) -> None:
        """Let the key be used again after a failure."""
        if reserved is not None:
            with self.held.database.write() as session:
                idempotency.release(session, reserved)


def respond(answer: Answer) -> Response:
    """The HTTP response of an answer."""
    return Response(answer.body or None, answer.status, answer.headers, "application/json" if answer.body else None)


def replay(answer: Answer) -> Response:
    """The HTTP response of an answer that was given before."""
    response = respond(answer)
    response.headers["Idempotent-Replayed"] = "true"
    return response


async def edge(request: Request, held: Held, who: Identified, idempotency_key: IdempotencyKey = None) -> Edge:
    """The edge of an ordinary JSON request."""
    body = await request.body()
    if body and not _is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaTypeError("Send the body as `Content-Type: application/json`.")
    return Edge(held, owner=who.owner, key=idempotency_key, request_hash=request_hash(request, body))


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def request_hash(request: Request, body: bytes, *, digest: str | None = None) -> str:
    """What makes two requests the same: method, path, query and body."""
    head = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(head + (digest.encode() if digest else hashlib.sha256(body).digest())).hexdigest()


Writing = Annotated[Edge, Depends(edge)]
