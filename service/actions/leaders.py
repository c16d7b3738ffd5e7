"""One leader among equal processes: a lease in SQL."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.db.queries import leaders as queries

DISPATCHER = "dispatcher"


def lead(session: Session, name: str, *, holder: str, until: datetime, now: datetime) -> bool:
    """Take or prolong the lease; false while another holds it."""
    if queries.prolong(session, name, holder=holder, until=until, now=now):
        return True
    return queries.get(session, name) is None and queries.add(session, name, holder=holder, until=until)


def resign(session: Session, name: str, *, holder: str) -> None:
    """Give the lease up, so that another leads at once."""
    queries.remove(session, name, holder=holder)
