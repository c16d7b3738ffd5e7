"""Idempotency-Key: the same request twice has one effect and one answer."""

import math
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.db.queries import idempotency as queries
from service.db.tables import IdempotentAnswer
from service.errors import ConflictError, IdempotencyInProgressError, IdempotencyMismatchError


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to answer for a key."""

    owner: str
    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it was given, without secrets."""

    status: int
    headers: dict[str, str]
    body: bytes


def reserve(
    session: Session, *, owner: str, key: str, request_hash: str, lease: timedelta, now: datetime
) -> Reservation | Answer:
    """Reserve the key for the time of `lease`, or give the first answer back.

    A process that dies leaves its reservation for that time. One that takes longer may be overtaken, and then keeps
    nothing of its effect.

    Raises:
        IdempotencyMismatchError: the key was used for another request.
        IdempotencyInProgressError: the first request is still running.
    """
    token = secrets.token_hex(16)
    row = queries.get(session, owner, key)
    if row is None:
        fresh = IdempotentAnswer(
            owner=owner, key=key, request_hash=request_hash, token=token, lease_until=now + lease, created_at=now
        )
        if queries.add(session, fresh):
            return Reservation(owner, key, token)
        row = queries.get(session, owner, key)
    if row is None:  # another request was faster, and has failed since
        raise IdempotencyInProgressError("Another request with this key was running.", headers={"Retry-After": "1"})
    if row.request_hash != request_hash:
        raise IdempotencyMismatchError("This Idempotency-Key was used with another request.")
    if row.lease_until is None:
        return Answer(row.status or 200, dict(row.headers or {}), row.body or b"")
    if row.lease_until > now:
        left = math.ceil((row.lease_until - now).total_seconds())
        raise IdempotencyInProgressError(
            f"The first request with this key is running. If its process was lost, the key is free again in {left} s.",
            headers={"Retry-After": "1"},
        )
    if not queries.take_over(session, owner, key, row.token, token, until=now + lease, now=now):
        raise IdempotencyInProgressError("The first request with this key just ended.", headers={"Retry-After": "1"})
    return Reservation(owner, key, token)


def renew(session: Session, held: Reservation, *, until: datetime) -> None:
    """Keep a reservation while a long request goes on."""
    queries.renew(session, held.owner, held.key, held.token, until=until)


def complete(session: Session, held: Reservation, answer: Answer) -> None:
    """Keep the answer, in the transaction of the effect.

    Raises:
        ConflictError: the reservation ran out and another request took it; this one's effect must not be kept.
    """
    kept = queries.complete(
        session, held.owner, held.key, held.token, status=answer.status, headers=answer.headers, body=answer.body
    )
    if not kept:
        raise ConflictError("Another request with this Idempotency-Key took over.", headers={"Retry-After": "1"})


def release(session: Session, held: Reservation) -> None:
    """Let the key be used again: the request failed and had no effect."""
    queries.release(session, held.owner, held.key, held.token)


def forget(session: Session, *, before: datetime) -> int:
    """Drop answers from before a time."""
    return queries.remove_older(session, before)
