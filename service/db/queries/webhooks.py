"""Webhooks: the endpoints that are told of events."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from service.db.results import changed
from service.db.tables import Annotator, Webhook


def get(session: Session, webhook_id: str) -> Webhook | None:
    """The webhook."""
    return session.get(Webhook, webhook_id)


def page(session: Session, *, only: str | None, after: str | None, size: int) -> Sequence[Webhook]:
    """Webhooks in order of creation, without programs; `only` keeps those of one project."""
    query = select(Webhook).where(~Webhook.program).order_by(Webhook.id).limit(size)
    query = query.where(Webhook.project_id == only) if only else query
    return session.scalars(query.where(Webhook.id > after) if after else query).all()


def enabled(session: Session, project_id: str | None) -> Sequence[Webhook]:
    """The enabled webhooks of a project, and those of the whole service."""
    query = select(Webhook).where(Webhook.enabled, _hear_of(project_id))
    return session.scalars(query.order_by(Webhook.id)).all()


def every(session: Session) -> list[tuple[Webhook, str | None]]:
    """All of them, those of programs with the program's id."""
    query = select(Webhook, Annotator.id).outerjoin(Annotator, Annotator.webhook_id == Webhook.id)
    return [(webhook, annotator_id) for webhook, annotator_id in session.execute(query.order_by(Webhook.id))]


def _hear_of(project_id: str | None) -> ColumnElement[bool]:
    return or_(Webhook.project_id == project_id, Webhook.project_id.is_(None))


def lock(session: Session, webhook_ids: Iterable[str]) -> None:
    """Lock webhooks, as everybody does in the order of their ids, until the transaction ends."""
    _lock(session, Webhook.id.in_(list(webhook_ids)))


def lock_all(session: Session, project_id: str | None) -> None:
    """Lock the webhooks of a project and those of the whole service, also those that may be enabled meanwhile."""
    _lock(session, _hear_of(project_id))


def _lock(session: Session, condition: ColumnElement[bool]) -> None:
    query = select(Webhook.id).where(condition).order_by(Webhook.id)
    session.execute(query.with_for_update(key_share=True))


def take_sequence(session: Session, webhook_id: str) -> int | None:
    """The webhook's next number, from 1; none when it was disabled or removed meanwhile."""
    query = update(Webhook).where(Webhook.id == webhook_id, Webhook.enabled)
    query = query.values(next_sequence=Webhook.next_sequence + 1)
    options = {"synchronize_session": False}
    after = session.execute(query.returning(Webhook.next_sequence), execution_options=options).scalar_one_or_none()
    return None if after is None else after - 1


def change_url(session: Session, webhook_id: str, url: str, *, now: datetime) -> None:
    """Reach the webhook elsewhere."""
    changed(session, update(Webhook).where(Webhook.id == webhook_id).values(url=url, updated_at=now))


def remove(session: Session, webhook_id: str) -> None:
    """Delete the webhook; its deliveries go with it."""
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def disable(session: Session, webhook_id: str, *, reason: str, now: datetime) -> bool:
    """Switch the webhook off; false when it was off or gone already."""
    query = update(Webhook).where(Webhook.id == webhook_id, Webhook.enabled)
    return changed(session, query.values(enabled=False, disabled_reason=reason, updated_at=now)) > 0
