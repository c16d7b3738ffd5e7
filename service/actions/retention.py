"""What is forgotten when its time is over, so that tables do not grow for ever."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.actions import deliveries, idempotency
from service.db.queries import retention as queries


def forget_leases(session: Session, *, now: datetime) -> int:
    """Leases that ran out. They count no longer anyway: everybody asks for those that live."""
    return queries.remove_expired_leases(session, now)


def forget_answers(session: Session, *, hours: int, now: datetime) -> int:
    """Answers that can no longer be replayed."""
    return idempotency.forget(session, before=now - timedelta(hours=hours))


def forget_deliveries(session: Session, *, now: datetime) -> int:
    """Deliveries that ended long ago."""
    return deliveries.forget(session, before=now - deliveries.KEPT)
