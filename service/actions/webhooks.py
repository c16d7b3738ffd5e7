"""Webhooks: endpoints, their secrets and their delivery log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from service.actions import events
from service.actions.keys import Caller
from service.db.queries import deliveries as delivery_queries
from service.db.queries import projects
from service.db.queries import webhooks as queries
from service.db.tables import Delivery, DeliveryAttempt, Webhook
from service.db.types import new_id
from service.errors import ConflictError, FieldError, ForbiddenError, InvalidRequestError, NotFoundError
from service.security import signatures
from service.security.sealing import Sealer

OLD_SECRET_SIGNS_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery and what came of its attempts."""

    delivery: Delivery
    attempts: Sequence[DeliveryAttempt]


def create(
    session: Session,
    who: Caller,
    *,
    url: str,
    event_names: list[str],
    project_id: str | None,
    sealer: Sealer,
    now: datetime,
) -> tuple[Webhook, str]:
    """A new webhook and its secret; none as `project_id` hears of every project.

    Raises:
        ForbiddenError: a key that is bound to a project named none.
        InvalidRequestError: there is no such project, or the key may not see it.
    """
    _check_project(session, who, project_id)
    return add(session, url=url, event_names=event_names, project_id=project_id, sealer=sealer, now=now)


def add(
    session: Session,
    *,
    url: str,
    event_names: list[str],
    project_id: str | None,
    sealer: Sealer,
    now: datetime,
    program: bool = False,
) -> tuple[Webhook, str]:
    """A new endpoint of a project that is there, or of all, and its secret; that of a `program` is no webhook."""
    secret = signatures.new_secret()
    webhook = Webhook(
        id=new_id("whk"),
        project_id=project_id,
        url=url,
        events=event_names,
        secret=sealer.seal(secret),
        enabled=True,
        next_sequence=1,
        created_at=now,
        updated_at=now,
        program=program,
    )
    session.add(webhook)
    session.flush()
    return webhook, secret


def _check_project(session: Session, who: Caller, project_id: str | None) -> None:
    if project_id is None:
        if who.project_id is not None:
            raise ForbiddenError("This key is bound to one project: name it as `project_id`.")
        return
    project = projects.get(session, project_id)
    seen = who.project_id in {None, project_id}
    if project is None or project.state != "active" or not seen:
        raise InvalidRequestError(
            "There is no such project.", errors=[FieldError("/project_id", "unknown_project", "No such project.")]
        )


def get(session: Session, who: Caller, webhook_id: str) -> Webhook:
    """The webhook; one that the caller may not see is not there."""
    webhook = queries.get(session, webhook_id)
    if webhook is None or webhook.program or who.project_id not in {None, webhook.project_id}:
        raise NotFoundError("There is no such webhook.")
    return webhook


def page(session: Session, who: Caller, *, after: str | None, size: int) -> Sequence[Webhook]:
    """The webhooks that the caller may see, in order of creation."""
    return queries.page(session, only=who.project_id, after=after, size=size)


def change(session: Session, who: Caller, webhook_id: str, changes: dict[str, Any], *, now: datetime) -> Webhook:
    """Change `url`, `events` or `enabled`. While it is disabled, what is pending is held."""
    webhook = get(session, who, webhook_id)
    was_enabled = webhook.enabled
    for field, value in changes.items():
        setattr(webhook, field, value)
    if webhook.enabled:
        webhook.disabled_reason = None
    webhook.updated_at = now
    session.flush()
    if webhook.enabled and not was_enabled:
        delivery_queries.resume(session, webhook_id, now)
    if was_enabled and not webhook.enabled:
        delivery_queries.hold(session, webhook_id)
    return webhook


def delete(session: Session, who: Caller, webhook_id: str) -> None:
    """Remove the webhook and its deliveries."""
    get(session, who, webhook_id)
    queries.remove(session, webhook_id)


def rotate_secret(
    session: Session, who: Caller, webhook_id: str, *, sealer: Sealer, now: datetime
) -> tuple[Webhook, str]:
    """A new secret; the old one signs along for a day, so that the receiver can change over in between."""
    webhook = get(session, who, webhook_id)
    return webhook, renew_secret(session, webhook, sealer=sealer, now=now)


def renew_secret(session: Session, webhook: Webhook, *, sealer: Sealer, now: datetime) -> str:
    """A new secret of an endpoint; the old one signs along for a day, unless the key that sealed it is lost."""
    secret = signatures.new_secret()
    webhook.previous_secret, webhook.previous_until = None, None
    if sealer.opens(webhook.secret):
        webhook.previous_secret, webhook.previous_until = webhook.secret, now + OLD_SECRET_SIGNS_FOR
    webhook.secret = sealer.seal(secret)
    webhook.updated_at = now
    session.flush()
    return secret


def signing_secrets(webhook: Webhook, *, now: datetime) -> list[str]:
    """The sealed secrets that sign a delivery now, the newest first."""
    if webhook.previous_secret is None or webhook.previous_until is None or webhook.previous_until <= now:
        return [webhook.secret]
    return [webhook.secret, webhook.previous_secret]


def send_test(session: Session, who: Caller, webhook_id: str, *, now: datetime) -> DeliveryView:
    """Send this webhook alone a test event, whether it subscribes to that or not.

    Raises:
        ConflictError: it is disabled.
    """
    webhook = get(session, who, webhook_id)
    data = {"project_id": webhook.project_id, "job_id": None, "model": None, "webhook": {"id": webhook.id}}
    delivery = events.deliver(session, webhook_id=webhook.id, event="webhook.test", data=data, now=now)
    if delivery is None:
        raise ConflictError("The webhook is disabled. Enable it first.")
    return DeliveryView(delivery, [])


def deliveries(
    session: Session, who: Caller, webhook_id: str, *, before: str | None, size: int
) -> Sequence[DeliveryView]:
    """The webhook's deliveries, newest first, with their attempts."""
    get(session, who, webhook_id)
    found = delivery_queries.page(session, webhook_id, before=before, size=size)
    made: dict[str, list[DeliveryAttempt]] = {delivery.id: [] for delivery in found}
    for attempt in delivery_queries.attempts(session, made):
        made[attempt.delivery_id].append(attempt)
    return [DeliveryView(delivery, made[delivery.id]) for delivery in found]


def redeliver(session: Session, who: Caller, webhook_id: str, delivery_id: str, *, now: datetime) -> DeliveryView:
    """Send the same body under the same id again; its schedule of attempts starts anew.

    Raises:
        ConflictError: the webhook is disabled.
    """
    webhook = get(session, who, webhook_id)
    delivery = delivery_queries.get(session, delivery_id)
    if delivery is None or delivery.webhook_id != webhook_id:
        raise NotFoundError("There is no such delivery.")
    if not webhook.enabled:
        raise ConflictError("The webhook is disabled. Enable it first.")
    delivery.state, delivery.attempt, delivery.next_attempt_at, delivery.finished_at = "pending", 0, now, None
    session.flush()
    return DeliveryView(delivery, delivery_queries.attempts(session, [delivery_id]))
