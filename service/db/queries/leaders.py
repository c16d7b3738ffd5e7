"""Which process leads."""

from datetime import datetime

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from service.db.results import added, changed
from service.db.tables import Leader


def get(session: Session, name: str) -> Leader | None:
    """Who leads, perhaps past its time."""
    return session.get(Leader, name, populate_existing=True)


def prolong(session: Session, name: str, *, holder: str, until: datetime, now: datetime) -> bool:
    """Lead until a time, if `holder` leads already or nobody does; false otherwise."""
    query = update(Leader).where(Leader.name == name, or_(Leader.holder == holder, Leader.until <= now))
    return changed(session, query.values(holder=holder, until=until)) > 0


def add(session: Session, name: str, *, holder: str, until: datetime) -> bool:
    """Lead as the first ever; false when another was faster."""
    return added(session, Leader(name=name, holder=holder, until=until))


def remove(session: Session, name: str, *, holder: str) -> None:
    """Nobody leads, if `holder` did."""
    changed(session, delete(Leader).where(Leader.name == name, Leader.holder == holder))
