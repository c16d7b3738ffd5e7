"""Batches, their items and leases."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from service.db.many import among
from service.db.results import changed
from service.db.tables import Batch, BatchItem, Job, Lease

_IN = 500


def get(session: Session, job_id: str) -> Batch | None:
    """The batch of a query."""
    return session.get(Batch, job_id)


def add_items(session: Session, items: list[dict[str, Any]]) -> None:
    """Write a batch's items."""
    if items:
        session.execute(insert(BatchItem), items)


def add_leases(session: Session, leases: list[dict[str, Any]]) -> None:
    """Write leases; a holder's earlier lease of an example, live or not, makes way."""
    if not leases:
        return
    first = leases[0]
    ids = [lease["example_id"] for lease in leases]
    for start in range(0, len(ids), _IN):
        mine = delete(Lease).where(Lease.project_id == first["project_id"], Lease.holder == first["holder"])
        session.execute(mine.where(Lease.example_id.in_(ids[start : start + _IN])))
    session.execute(insert(Lease), leases)


def renew(session: Session, job_id: str, *, until: datetime, now: datetime) -> int:
    """Prolong a batch's live leases; how many."""
    live = update(Lease).where(Lease.job_id == job_id, Lease.expires_at > now)
    return changed(session, live.values(expires_at=until))


def release(session: Session, job_id: str, example_ids: Sequence[str] | None) -> int:
    """End a batch's leases, all or some; how many."""
    query = delete(Lease).where(Lease.job_id == job_id)
    if example_ids is None:
        return changed(session, query)
    ids = list(example_ids)
    parts = [ids[start : start + _IN] for start in range(0, len(ids), _IN)]
    return sum(changed(session, query.where(Lease.example_id.in_(part))) for part in parts)


def item_ids(session: Session, job_id: str) -> set[str]:
    """The examples of a batch."""
    return set(session.scalars(select(BatchItem.example_id).where(BatchItem.job_id == job_id)))


def filtered(session: Session, job_ids: AbstractSet[str]) -> set[str]:
    """Which queries asked for a part of the pool only."""
    asked = session.execute(select(Job.id, Job.payload).where(among(session, Job.id, list(job_ids))))
    return {job_id for job_id, payload in asked if payload.get("filter")}
