"""API keys."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.results import added, changed
from service.db.tables import Key


def by_fingerprint(session: Session, fingerprint: str) -> Key | None:
    """The key with this fingerprint, also a dead one."""
    return session.execute(select(Key).where(Key.fingerprint == fingerprint)).scalar_one_or_none()


def get(session: Session, key_id: str) -> Key | None:
    """The key."""
    return session.get(Key, key_id)


def page(session: Session, *, after: str | None, size: int) -> Sequence[Key]:
    """Keys in order of creation."""
    query = select(Key).order_by(Key.id).limit(size)
    return session.scalars(query.where(Key.id > after) if after else query).all()


def unbound(session: Session) -> Sequence[Key]:
    """The keys of no project that were not revoked; nobody else changes them until the end of the transaction."""
    query = select(Key).where(Key.project_id.is_(None), Key.revoked_at.is_(None)).order_by(Key.id)
    return session.scalars(query.with_for_update(), execution_options={"populate_existing": True}).all()


def add(session: Session, key: Key) -> bool:
    """Add a key; false when another transaction was faster with the same secret."""
    return added(session, key)


def used(session: Session, key_id: str, now: datetime) -> None:
    """Note that the key was used."""
    changed(session, update(Key).where(Key.id == key_id).values(last_used_at=now))
