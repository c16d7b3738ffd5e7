"""Prepared rankings, and what of them can still be given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.db.queries.examples import visible
from service.db.results import changed
from service.db.tables import Batch, BatchItem, CandidateChange, Example, Job, Label, Lease, Ranking


@dataclass(frozen=True, slots=True)
class Place:
    """An example of a ranking as it is now."""

    rank: int
    example_id: str
    row: int
    label_count: int
    skip_count: int
    split: str


def get(session: Session, project_id: str, annotator: str) -> Ranking | None:
    """The ranking of an annotator, or everybody's."""
    return session.get(Ranking, (project_id, annotator))


def places(session: Session, batch: Batch) -> Sequence[Place]:
    """The examples of a ranking that are still what was ranked, best first."""
    same = (Example.project_id == batch.project_id) & (Example.example_id == BatchItem.example_id)
    columns = (Example.example_id, Example.row, Example.label_count, Example.skip_count, Example.split)
    query = select(BatchItem.rank, *columns).join(Example, same).where(BatchItem.job_id == batch.job_id)
    query = query.where(Example.split.in_(("pool", "gold")))
    # what was changed since has a later row
    query = query.where(Example.row < batch.row_high_water, visible(batch.project_id)).order_by(BatchItem.rank)
    return [Place(*line) for line in session.execute(query)]


def answered(session: Session, batch: Batch, annotator: str) -> set[str]:
    """Which examples of a ranking an annotator has labelled or skipped; the empty name: whoever told none."""
    query = select(Label.example_id).join(BatchItem, BatchItem.example_id == Label.example_id)
    query = query.where(BatchItem.job_id == batch.job_id, Label.project_id == batch.project_id)
    return set(session.scalars(query.where(Label.annotator == annotator)))


def questions(session: Session, batch: Batch) -> Sequence[str]:
    """The gold questions of a ranking, answered or not."""
    same = (Example.project_id == batch.project_id) & (Example.example_id == BatchItem.example_id)
    query = select(Example.example_id).join(BatchItem, same).where(BatchItem.job_id == batch.job_id)
    return session.scalars(query.where(Example.split == "gold").order_by(Example.example_id)).all()


def own_lease(session: Session, project_id: str, holder: str, now: datetime) -> Lease | None:
    """The live lease of a holder that is given first: of the oldest batch, the best rank."""
    same = (BatchItem.job_id == Lease.job_id) & (BatchItem.example_id == Lease.example_id)
    query = select(Lease).outerjoin(BatchItem, same)
    query = query.where(Lease.project_id == project_id, Lease.holder == holder, Lease.expires_at > now)
    return session.scalars(query.order_by(Lease.job_id, BatchItem.rank).limit(1)).first()


def live_leases(session: Session, project_id: str, now: datetime) -> int:
    """How many promises there are now."""
    query = select(func.count()).select_from(Lease)
    return session.execute(query.where(Lease.project_id == project_id, Lease.expires_at > now)).scalar_one()


def forget(session: Session, project_id: str) -> None:
    """Drop the rankings of a project: they are no longer what anybody should be given."""
    session.execute(delete(Ranking).where(Ranking.project_id == project_id))


def take_back(session: Session, project_id: str) -> None:
    """End what is leased from rankings of a project, be they the present ones or earlier ones."""
    leased = select(Lease.job_id).where(Lease.project_id == project_id)
    prepared = [job.id for job in session.scalars(select(Job).where(Job.id.in_(leased))) if job.payload.get("prepared")]
    changed(session, delete(Lease).where(Lease.project_id == project_id, Lease.job_id.in_(prepared)))


def last_expiry(session: Session, project_id: str, now: datetime) -> datetime | None:
    """When the last of the promises of now ends; none without any."""
    query = select(Lease.expires_at).where(Lease.project_id == project_id, Lease.expires_at > now)
    return session.scalars(query.order_by(Lease.expires_at.desc()).limit(1)).first()


def has_entered(session: Session, project_id: str, *, after: int) -> bool:
    """Whether an example became a candidate behind a sequence number, as far as changes are kept."""
    query = select(CandidateChange.sequence).where(CandidateChange.project_id == project_id, CandidateChange.value)
    return session.execute(query.where(CandidateChange.sequence > after).limit(1)).first() is not None
