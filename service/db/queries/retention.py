"""Rows that have served."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.db.results import changed
from service.db.tables import Lease


def remove_expired_leases(session: Session, now: datetime) -> int:
    """Forget leases that ran out."""
    return changed(session, delete(Lease).where(Lease.expires_at <= now))
