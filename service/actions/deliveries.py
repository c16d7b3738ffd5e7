"""Sending deliveries: what is due, what came of an attempt, and when the next one follows.

Claiming a delivery pushes its next attempt behind a lease, so a dispatcher that dies in the middle only delays it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from random import SystemRandom

from sqlalchemy.orm import Session

from service.actions import events, webhooks
from service.db.queries import deliveries as queries
from service.db.queries import webhooks as webhook_queries
from service.db.tables import Delivery, DeliveryAttempt, Webhook

RETRIES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Waits after the first attempt, the second, and so on: about three days in all (Standard Webhooks)."""

LONGEST_RETRY_AFTER = timedelta(hours=24)
_JITTER = 0.1  # of the wait, added, so that what failed together does not come back together
_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A claimed delivery: all that its attempt needs. `secrets` are sealed."""

    delivery_id: str
    webhook_id: str
    event: str
    url: str
    body: bytes
    secrets: Sequence[str]
    attempt: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: a status, or the error that kept an answer from coming.

    Attributes:
        at: When it began.
        duration_ms: How long it took.
        status: Of the answer.
        error: Why there is none.
        timed_out: Whether that is because it took too long.
        excerpt: The beginning of the answer.
        retry_after_seconds: What the receiver asks for.
        body: The answer of a program; none if it is too large.
    """

    at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None
    timed_out: bool = False
    excerpt: str | None = None
    retry_after_seconds: float | None = None
    body: bytes | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and is_success(self.status)


def is_success(status: int) -> bool:
    """Whether an answer says that the receiver took it; a redirect does not."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def any_due(session: Session, *, now: datetime) -> bool:
    """Whether a delivery waits for an attempt; cheap, to be asked often."""
    return queries.any_due(session, now)


def claim(
    session: Session,
    *,
    busy: Mapping[str, int],
    per_endpoint: int,
    limit: int,
    lease: timedelta,
    now: datetime,
) -> list[Parcel]:
    """Take the deliveries to attempt now.

    Args:
        session: A short transaction; the attempts follow after it.
        busy: Attempts under way by webhook.
        per_endpoint: Most attempts at once for one webhook, so that a slow receiver delays only itself.
        limit: Most deliveries to take.
        lease: How long an attempt can last; after that the delivery is due again.
        now: The time of the claim.
    """
    full = [webhook_id for webhook_id, count in busy.items() if count >= per_endpoint]
    room = {webhook_id: per_endpoint - count for webhook_id, count in busy.items()}
    parcels = []
    for delivery, webhook in queries.due(session, now, per_endpoint=per_endpoint, but=full, limit=limit):
        left = room.get(webhook.id, per_endpoint)
        if left <= 0:
            continue
        parcel = _take(session, delivery, webhook, lease=lease, now=now)
        if parcel is not None:
            room[webhook.id] = left - 1
            parcels.append(parcel)
    return parcels


def _take(session: Session, delivery: Delivery, webhook: Webhook, *, lease: timedelta, now: datetime) -> Parcel | None:
    """Claim a delivery; one whose last attempt never came back fails: perhaps it is what kills dispatchers."""
    if delivery.attempt > len(RETRIES):
        _end(session, delivery.id, delivery.attempt, state="failed", now=now)
        return None
    attempt = delivery.attempt + 1
    if not queries.change_attempt(session, delivery.id, delivery.attempt, attempt=attempt, next_attempt_at=now + lease):
        return None
    return Parcel(
        delivery_id=delivery.id,
        webhook_id=webhook.id,
        event=delivery.event,
        url=webhook.url,
        body=delivery.body.encode(),
        secrets=webhooks.signing_secrets(webhook, now=now),
        attempt=attempt,
        traceparent=delivery.traceparent,
    )


def give_back(session: Session, parcels: Sequence[Parcel], *, now: datetime) -> None:
    """Attempts were interrupted: they do not count, and others follow."""
    webhook_queries.lock(session, {parcel.webhook_id for parcel in parcels})
    for parcel in parcels:
        earlier = parcel.attempt - 1
        queries.change_attempt(session, parcel.delivery_id, parcel.attempt, attempt=earlier, next_attempt_at=now)


def record(session: Session, parcel: Parcel, outcome: Outcome, *, now: datetime) -> None:
    """Log an attempt and decide what follows: the end, another attempt, or the end of the webhook."""
    webhook = webhook_queries.get(session, parcel.webhook_id)
    if webhook is not None and _may_disable(parcel, outcome):
        webhook_queries.lock_all(session, webhook.project_id)
    delivery = queries.get(session, parcel.delivery_id)
    if delivery is None or webhook is None:  # removed meanwhile
        return
    log(session, parcel, outcome)
    if outcome.succeeded:
        _end(session, parcel.delivery_id, parcel.attempt, state="succeeded", now=now)
    elif outcome.status == HTTPStatus.GONE:
        _end(session, parcel.delivery_id, parcel.attempt, state="failed", now=now)
        _disable(session, webhook, reason="The receiver answered 410 Gone.", now=now)
    elif parcel.attempt > len(RETRIES):
        _end(session, parcel.delivery_id, parcel.attempt, state="failed", now=now)
        if not queries.succeeded_since(session, webhook.id, delivery.created_at):
            reason = f"No delivery succeeded while one was attempted {parcel.attempt} times."
            _disable(session, webhook, reason=reason, now=now)
    else:
        following = now + wait(RETRIES[parcel.attempt - 1], outcome.retry_after_seconds) if webhook.enabled else None
        queries.change_attempt(session, parcel.delivery_id, parcel.attempt, next_attempt_at=following)


def _may_disable(parcel: Parcel, outcome: Outcome) -> bool:
    """Whether the attempt may be the end of its webhook, of which the others are told."""
    return outcome.status == HTTPStatus.GONE or (parcel.attempt > len(RETRIES) and not outcome.succeeded)


def log(session: Session, parcel: Parcel, outcome: Outcome) -> None:
    """Keep what came of an attempt."""
    session.add(
        DeliveryAttempt(
            delivery_id=parcel.delivery_id,
            at=outcome.at,
            duration_ms=outcome.duration_ms,
            status=outcome.status,
            error=outcome.error,
            excerpt=outcome.excerpt,
        )
    )
    session.flush()


def _end(session: Session, delivery_id: str, attempt: int, *, state: str, now: datetime) -> None:
    queries.change_attempt(session, delivery_id, attempt, state=state, next_attempt_at=None, finished_at=now)


def wait(scheduled: timedelta, retry_after_seconds: float | None) -> timedelta:
    """A wait of the schedule with some jitter, or longer when the receiver asks for that, up to a day."""
    scheduled *= 1 + _JITTER * _random.random()
    asked = timedelta(seconds=min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER.total_seconds()))
    return max(scheduled, asked)


def _disable(session: Session, webhook: Webhook, *, reason: str, now: datetime) -> None:
    """Switch the webhook off, hold what it has pending, and tell the others."""
    if not webhook_queries.disable(session, webhook.id, reason=reason, now=now):
        return
    queries.hold(session, webhook.id)
    told = {"id": webhook.id, "reason": reason}
    data = {"project_id": webhook.project_id, "job_id": None, "model": None, "webhook": told}
    events.emit(session, "webhook.disabled", project_id=webhook.project_id, data=data, now=now)


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Drop some of the deliveries that ended before a time; how many."""
    return queries.remove_finished(session, before, limit)
