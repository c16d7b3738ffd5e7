"""Who may be picked: changes since the snapshot, leases, and examples by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Row, Text, cast, delete, exists, func, select, text, type_coerce
from sqlalchemy.orm import Session

from service.db.many import among
from service.db.queries.examples import visible
from service.db.results import changed
from service.db.tables import CandidateChange, Example, Label, Lease

# a million rows one by one take seconds
_ROWS = func.aggregate_strings(cast(Example.row, Text), " ")


@dataclass(frozen=True, slots=True)
class Pick:
    """An example as the store of a batch sees it."""

    example_id: str
    row: int
    data: str | None
    label_count: int
    skip_count: int
    split: str


def changes(session: Session, project_id: str, *, after: int) -> Sequence[Row[int, int, bytes | None, bool]]:
    """Changes behind a sequence number, in order: start, stop, bits and value."""
    table = CandidateChange
    query = select(table.start, table.stop, table.bits, table.value).where(table.project_id == project_id)
    return session.execute(query.where(table.sequence > after).order_by(table.sequence)).all()


def forget_changes(session: Session, project_id: str, *, until: int) -> None:
    """Drop changes that a snapshot holds."""
    query = delete(CandidateChange).where(CandidateChange.project_id == project_id)
    changed(session, query.where(CandidateChange.sequence <= until))


def live_leases(
    session: Session, project_id: str, now: datetime, *, rows: Sequence[int] | None = None
) -> list[tuple[int, str]]:
    """Row and holder of the leases that have not run out, the oldest batch first; of some rows, or of all."""
    query = select(Lease.row, Lease.holder).where(Lease.project_id == project_id, Lease.expires_at > now)
    query = query if rows is None else query.where(among(session, Lease.row, rows))
    return [(row, holder) for row, holder in session.execute(query.order_by(Lease.job_id, Lease.row))]


def priorities(session: Session, project_id: str) -> Sequence[Row[float | None, bool, str]]:
    """The priorities that examples have, each with whether they are pinned and with their rows as text."""
    query = select(Example.priority, Example.pinned, _ROWS).where(Example.project_id == project_id)
    query = query.where(text("(priority IS NOT NULL OR pinned)"))
    return session.execute(query.group_by(Example.priority, Example.pinned)).all()


def groups(session: Session, project_id: str) -> Sequence[Row[str, str]]:
    """The name of each group, with its rows as text."""
    query = select(type_coerce(Example.group, Text()), _ROWS).where(
        Example.project_id == project_id, text("group_name IS NOT NULL")
    )
    return session.execute(query.group_by(Example.group)).all()


def answered_rows(
    session: Session, project_id: str, annotator: str, *, rows: Sequence[int] | None = None
) -> Sequence[int]:
    """Rows that an annotator has labelled or skipped, of some or of all; the empty name: whoever told none."""
    query = select(Example.row).join(
        Label, (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    )
    query = query.where(Label.project_id == project_id, Label.annotator == annotator)
    return session.scalars(query if rows is None else query.where(among(session, Example.row, rows))).all()


def gold_rows(session: Session, project_id: str, annotator: str | None) -> Sequence[int]:
    """Rows of the gold questions that an annotator has not answered; of all, where none is named."""
    query = select(Example.row).where(Example.project_id == project_id, text("gold IS NOT NULL"), visible(project_id))
    if annotator is not None:
        said = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
        query = query.where(~exists().where(said, Label.annotator == annotator))
    return session.scalars(query.order_by(Example.row)).all()


def label_counts(session: Session, project_id: str, rows: Sequence[int]) -> dict[int, int]:
    """How many labels the examples of some rows have."""
    query = select(Example.row, Example.label_count).where(Example.project_id == project_id)
    return dict(session.execute(query.where(among(session, Example.row, rows))).all())


def picks(session: Session, project_id: str, rows: Sequence[int]) -> dict[int, Pick]:
    """The visible examples of some rows, pool or gold."""
    columns = (Example.example_id, Example.row, Example.data, Example.label_count, Example.skip_count, Example.split)
    query = select(*columns).where(Example.project_id == project_id, among(session, Example.row, rows))
    query = query.where(Example.split.in_(("pool", "gold")))
    return {line.row: Pick(*line) for line in session.execute(query.where(visible(project_id)))}


def matching_rows(session: Session, project_id: str, wanted: dict[str, Any]) -> Sequence[int]:
    """Rows whose data has all of these values."""
    document = type_coerce(cast(Example.data, JSON), JSON) if _is_postgres(session) else type_coerce(Example.data, JSON)
    query = select(Example.row).where(Example.project_id == project_id, Example.data.is_not(None))
    for name, value in wanted.items():
        query = query.where(_equals(document[name], value))
    return session.scalars(query).all()


def _is_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _equals(element: Any, value: Any) -> ColumnElement[bool]:
    if isinstance(value, bool):
        found: ColumnElement[bool] = element.as_boolean() == value
    elif isinstance(value, int | float):
        found = element.as_float() == float(value)
    else:
        found = element.as_string() == value
    return found
