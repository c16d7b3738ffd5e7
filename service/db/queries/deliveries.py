"""Deliveries of webhooks and their attempts. An attempt is fenced by its number."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from service.db.results import changed, removed
from service.db.tables import Delivery, DeliveryAttempt, Webhook


def get(session: Session, delivery_id: str) -> Delivery | None:
    """The delivery."""
    return session.get(Delivery, delivery_id)


def page(session: Session, webhook_id: str, *, before: str | None, size: int) -> Sequence[Delivery]:
    """A webhook's deliveries, newest first; `before` goes on behind an id."""
    query = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.sequence.desc()).limit(size)
    last = select(Delivery.sequence).where(Delivery.webhook_id == webhook_id, Delivery.id == before).scalar_subquery()
    return session.scalars(query.where(Delivery.sequence < last) if before else query).all()


def attempts(session: Session, delivery_ids: Collection[str]) -> Sequence[DeliveryAttempt]:
    """What came of the attempts of these deliveries, in order."""
    query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(delivery_ids))
    return session.scalars(query.order_by(DeliveryAttempt.id)).all()


def due(
    session: Session, now: datetime, *, per_endpoint: int, but: Collection[str], limit: int
) -> Sequence[tuple[Delivery, Webhook]]:
    """Deliveries to attempt now, at most `per_endpoint` of each webhook, none of the webhooks `but`.

    They are locked; without those that others have locked.
    """
    turn = func.row_number().over(partition_by=Delivery.webhook_id, order_by=Delivery.next_attempt_at).label("turn")
    waiting = (
        select(Delivery.id, turn)
        .where(Delivery.state == "pending", Delivery.next_attempt_at <= now, Delivery.webhook_id.not_in(but))
        .subquery()
    )
    query = select(Delivery, Webhook).join(waiting, waiting.c.id == Delivery.id)
    query = query.join(Webhook, Webhook.id == Delivery.webhook_id).where(Webhook.enabled)
    query = query.where(waiting.c.turn <= per_endpoint).order_by(waiting.c.turn, Delivery.next_attempt_at)
    query = query.limit(limit).with_for_update(of=Delivery, skip_locked=True)
    return [(delivery, webhook) for delivery, webhook in session.execute(query)]


def any_due(session: Session, now: datetime) -> bool:
    """Whether a delivery waits for an attempt now."""
    waiting = exists().where(Delivery.state == "pending", Delivery.next_attempt_at <= now)
    return session.execute(select(waiting.where(Webhook.id == Delivery.webhook_id, Webhook.enabled))).scalar_one()


def change_attempt(session: Session, delivery_id: str, number: int, **values: Any) -> bool:
    """Change a delivery whose present attempt is `number`; false when it is another, or has ended."""
    query = update(Delivery).where(Delivery.id == delivery_id, Delivery.attempt == number, Delivery.state == "pending")
    return changed(session, query.values(**values)) > 0


def end(session: Session, delivery_id: str, *, now: datetime) -> None:
    """Attempt a delivery no more; what comes of an attempt under way is not recorded."""
    pending = update(Delivery).where(Delivery.id == delivery_id, Delivery.state == "pending")
    changed(session, pending.values(state="failed", next_attempt_at=None, finished_at=now))


def hold(session: Session, webhook_id: str) -> None:
    """Attempt nothing of this webhook until `resume`."""
    pending = update(Delivery).where(Delivery.webhook_id == webhook_id, Delivery.state == "pending")
    changed(session, pending.values(next_attempt_at=None))


def resume(session: Session, webhook_id: str, now: datetime) -> None:
    """Attempt what was held."""
    held = update(Delivery).where(Delivery.webhook_id == webhook_id, Delivery.state == "pending")
    changed(session, held.where(Delivery.next_attempt_at.is_(None)).values(next_attempt_at=now, attempt=0))


def succeeded_since(session: Session, webhook_id: str, since: datetime) -> bool:
    """Whether the webhook took anything since a time."""
    taken = exists().where(
        Delivery.webhook_id == webhook_id, Delivery.state == "succeeded", Delivery.finished_at >= since
    )
    return session.execute(select(taken)).scalar_one()


def remove_finished(session: Session, before: datetime, limit: int) -> int:
    """Forget deliveries that ended before a time, at most `limit`."""
    return removed(session, Delivery, (Delivery.state != "pending") & (Delivery.finished_at < before), limit=limit)
