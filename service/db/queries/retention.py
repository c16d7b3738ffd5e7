"""Rows that have served."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.db.results import removed
from service.db.tables import Lease


def remove_expired_leases(session: Session, now: datetime) -> int:
    """Forget leases that ran out."""
    return removed(session, Lease, Lease.expires_at <= now)
