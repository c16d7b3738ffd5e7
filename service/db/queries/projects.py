"""Projects and their counters."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.db.results import changed
from service.db.tables import Example, Label, LabelHistory, Lease, LooseVector, Pool, Project


def get(session: Session, project_id: str, *, anew: bool = False) -> Project | None:
    """The project, also one that is being deleted; read `anew` if the transaction has read it before."""
    return session.get(Project, project_id, populate_existing=anew)


def page(session: Session, *, only: str | None, after: str | None, size: int) -> Sequence[Project]:
    """Active projects in order of creation; `only` keeps one, `after` goes on behind an id."""
    query = select(Project).where(Project.state == "active").order_by(Project.id).limit(size)
    query = query.where(Project.id == only) if only else query
    return session.scalars(query.where(Project.id > after) if after else query).all()


def remove(session: Session, project_id: str) -> None:
    """Delete the project; what hangs on it goes with it."""
    session.execute(delete(Project).where(Project.id == project_id))


def remove_rows(session: Session, project_id: str, *, start: int, stop: int) -> None:
    """Delete the examples of rows [start, stop) and their loose vectors."""
    for table in (Example, LooseVector):
        inside = (table.row >= start) & (table.row < stop)
        changed(session, delete(table).where(table.project_id == project_id, inside))


def remove_labels(session: Session, project_id: str, *, limit: int) -> int:
    """Delete some labels, or some of their history once there are none; how many."""
    for table in (Label, LabelHistory):
        ids = session.scalars(select(table.id).where(table.project_id == project_id).order_by(table.id).limit(limit))
        found = list(ids)
        if found:
            mine = delete(table).where(table.project_id == project_id, table.id <= found[-1])
            return changed(session, mine)
    return 0


def pool(session: Session, project_id: str) -> Pool:
    """The counters, as they are."""
    return session.execute(select(Pool).where(Pool.project_id == project_id)).scalar_one()


def generation(session: Session, project_id: str) -> int:
    """The generation of the pool's chunk lists now, read anew."""
    return session.execute(select(Pool.chunk_generation).where(Pool.project_id == project_id)).scalar_one()


def lock_pool(session: Session, project_id: str) -> Pool:
    """The counters, locked until the transaction ends: writers of one project take turns."""
    locked: dict[str, Pool] = session.info.setdefault("locked_pools", {})
    if project_id not in locked:
        query = select(Pool).where(Pool.project_id == project_id).with_for_update()
        locked[project_id] = session.execute(query.execution_options(populate_existing=True)).scalar_one()
    return locked[project_id]


def leased(session: Session, project_id: str, now: datetime) -> int:
    """How many examples without a label are promised to somebody now."""
    same = (Example.project_id == Lease.project_id) & (Example.example_id == Lease.example_id)
    live = select(func.count(Lease.example_id.distinct())).join(Example, same).where(Example.label_count == 0)
    return session.execute(live.where(Lease.project_id == project_id, Lease.expires_at > now)).scalar_one()


def due_for_training(session: Session, now: datetime) -> str | None:
    """A project whose quiet or idle period is over."""
    query = select(Pool.project_id).join(Project, Project.id == Pool.project_id)
    query = query.where(Pool.train_at <= now, Project.state == "active").order_by(Pool.train_at).limit(1)
    return session.scalars(query).first()
