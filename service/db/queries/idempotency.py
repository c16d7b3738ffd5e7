"""Idempotency-Keys: reserved first, completed in the transaction of the effect."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from service.db.results import added, changed, removed
from service.db.tables import IdempotentAnswer


def get(session: Session, owner: str, key: str) -> IdempotentAnswer | None:
    """The reservation or answer."""
    return session.get(IdempotentAnswer, (owner, key), populate_existing=True)


def add(session: Session, row: IdempotentAnswer) -> bool:
    """Reserve a key that nobody used; false when another was faster."""
    return added(session, row)


def complete(session: Session, owner: str, key: str, token: str, **answer: Any) -> bool:
    """Keep the answer; false when the reservation was taken over meanwhile."""
    row = IdempotentAnswer
    mine = update(row).where(row.owner == owner, row.key == key, row.token == token, row.lease_until.is_not(None))
    return changed(session, mine.values(lease_until=None, **answer)) > 0


def take_over(session: Session, owner: str, key: str, old: str, new: str, *, until: datetime, now: datetime) -> bool:
    """Reserve a key again whose reservation ran out; false when it was completed, renewed or taken over meanwhile."""
    row = IdempotentAnswer
    mine = update(row).where(row.owner == owner, row.key == key, row.token == old, row.lease_until <= now)
    return changed(session, mine.values(token=new, lease_until=until)) > 0


def renew(session: Session, owner: str, key: str, token: str, *, until: datetime) -> None:
    """Prolong a reservation."""
    row = IdempotentAnswer
    mine = update(row).where(row.owner == owner, row.key == key, row.token == token, row.lease_until.is_not(None))
    changed(session, mine.values(lease_until=until))


def release(session: Session, owner: str, key: str, token: str) -> None:
    """Forget a reservation whose request failed."""
    row = IdempotentAnswer
    mine = delete(row).where(row.owner == owner, row.key == key, row.token == token, row.lease_until.is_not(None))
    changed(session, mine)


def remove_older(session: Session, before: datetime) -> int:
    """Forget answers that are kept no longer."""
    return removed(session, IdempotentAnswer, IdempotentAnswer.created_at < before)
