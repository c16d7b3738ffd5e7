"""Examples of a pool, their loose vectors and the changes of the candidates."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from service.db.many import among, insert_many, update_many
from service.db.results import changed
from service.db.tables import CandidateChange, Example, Lease, LooseVector, Upload

Status = Literal["unlabeled", "labeled", "skipped", "leased"]

_IN = 500  # parameters of one IN list
_TOGETHER = 50  # rows of one INSERT: a statement for each takes longer, and so does one for very many
_EXAMPLES: Any = Example.__table__
_VECTORS: Any = LooseVector.__table__
_LEASES: Any = Lease.__table__
_CHANGES: Any = CandidateChange.__table__


class Known(NamedTuple):
    """What is known of an example before it is changed."""

    example_id: str
    row: int
    split: str
    content_hash: bytes
    features_hash: bytes
    label_count: int
    skip_count: int
    upload_id: str | None
    gold: str | None

    def is_as(self, content_hash: bytes, gold: str | None) -> bool:
        """Whether it has that content and, if it is a gold question, that right answer, by the class names of now."""
        return self.content_hash == content_hash and self.gold == gold


_KNOWN = [getattr(Example, name) for name in Known._fields]


def visible(project_id: str) -> ColumnElement[bool]:
    """The condition that an example is in no upload that still is being staged; what is read of examples has it."""
    return or_(Example.upload_id.is_(None), Example.upload_id.not_in(_staging(project_id)))


def _staging(project_id: str) -> Select[str]:
    return select(Upload.id).where(Upload.project_id == project_id, Upload.state == "staging")


def staging_uploads(session: Session, project_id: str) -> set[str]:
    """The uploads whose rows nobody may see yet."""
    return set(session.scalars(_staging(project_id)))


def find(session: Session, project_id: str, ids: Sequence[str], *, hidden: bool = False) -> dict[str, Known]:
    """Those of the examples that exist; with `hidden`, also those of an upload that is not published."""
    query = select(*_KNOWN).where(Example.project_id == project_id, among(session, Example.example_id, ids))
    query = query if hidden else query.where(visible(project_id))
    return {row[0]: Known._make(row) for row in session.execute(query)}


def find_promised(
    session: Session, project_id: str, ids: Sequence[str]
) -> tuple[dict[str, Known], dict[str, list[tuple[str, str | None]]]]:
    """Those of the examples that exist, and holder and annotator of each of their leases."""
    query = select(*_KNOWN, Lease.holder, Lease.annotator).outerjoin(
        Lease, (Lease.project_id == Example.project_id) & (Lease.example_id == Example.example_id)
    )
    query = query.where(Example.project_id == project_id, among(session, Example.example_id, ids), visible(project_id))
    known: dict[str, Known] = {}
    leases: dict[str, list[tuple[str, str | None]]] = {}
    for *example, holder, annotator in session.execute(query):
        known[example[0]] = Known._make(example)
        if holder is not None:
            leases.setdefault(example[0], []).append((holder, annotator))
    return known, leases


def parts_of(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Values in parts that fit into one IN list."""
    return (values[first : first + _IN] for first in range(0, len(values), _IN))


class New(NamedTuple):
    """New examples, at their rows: for each column, the values of all of them."""

    example_id: Sequence[str]
    row: Sequence[int]
    data: Sequence[str | None]
    split: Sequence[str]
    group_name: Sequence[str | None]
    priority: Sequence[float | None]
    content_hash: Sequence[bytes]
    features_hash: Sequence[bytes]
    label_count: Sequence[int]
    gold: Sequence[str | None]


def add(session: Session, project_id: str, new: New, *, upload_id: str | None, now: datetime) -> None:
    """Insert examples.

    The values go straight to the driver: for a large upload, converting each of them takes longer than SQLite. What
    all rows have in common is sent to SQLite once for each statement.
    """
    count = len(new.example_id)
    if not count:
        return
    dialect = session.get_bind().dialect
    to_driver = _EXAMPLES.c.created_at.type.dialect_impl(dialect).bind_processor(dialect)
    at = to_driver(now) if to_driver else now
    same = {"project_id": project_id, "skip_count": 0, "upload_id": upload_id, "created_at": at, "updated_at": at}
    columns: dict[str, Sequence[Any]] = new._asdict() | {name: (value,) * count for name, value in same.items()}
    numbered = dialect.paramstyle == "qmark"  # a parameter with a number may stand in many places
    shared = [name for name, cells in columns.items() if numbered and cells.count(cells[0]) == count]
    own = [name for name in columns if name not in shared]
    names = ", ".join(map(dialect.identifier_preparer.quote, (*shared, *own)))
    marks = [f"?{number}" for number in range(1, 1 + len(shared))] + ["?" if numbered else "%s"] * len(own)
    first = tuple(columns[name][0] for name in shared)
    others = chain.from_iterable(zip(*(columns[name] for name in own), strict=True))
    for size, times in ((_TOGETHER, count // _TOGETHER), (count % _TOGETHER, 1)):
        if size and times:
            rows = ", ".join([f"({', '.join(marks)})"] * size)
            sql = f"INSERT INTO examples ({names}) VALUES {rows}"  # noqa: S608 - our own column names
            values = [first + tuple(islice(others, size * len(own))) for _ in range(times)]
            session.connection().exec_driver_sql(sql, values)


def change(session: Session, project_id: str, rows: list[dict[str, Any]]) -> None:
    """Change examples: each of the rows has `example_id` and new values of the same columns."""
    update_many(session, _EXAMPLES, rows, key="example_id", project_id=project_id)


def remove(session: Session, project_id: str, example_id: str) -> None:
    """Delete an example and its leases; its labels are removed by others."""
    changed(session, delete(Lease).where(Lease.project_id == project_id, Lease.example_id == example_id))
    changed(session, delete(Example).where(Example.project_id == project_id, Example.example_id == example_id))


def add_vectors(session: Session, project_id: str, vectors: Sequence[tuple[int, bytes]]) -> None:
    """Keep vectors as blobs, by row."""
    made = [{"project_id": project_id, "row": row, "vector": vector} for row, vector in vectors]
    insert_many(session, _VECTORS, made)


def drop_vectors(session: Session, project_id: str, rows: Sequence[int]) -> int:
    """Remove the blobs of rows that became holes; how many there were."""
    mine = delete(LooseVector).where(LooseVector.project_id == project_id)
    return changed(session, mine.where(among(session, LooseVector.row, rows)))


def move_leases(session: Session, project_id: str, new_rows: dict[str, int]) -> None:
    """Tell leases the new rows of their examples."""
    moved = [{"example_id": example_id, "row": row} for example_id, row in new_rows.items()]
    update_many(session, _LEASES, moved, key="example_id", project_id=project_id)


def add_changes(session: Session, project_id: str, *, first: int, made: Sequence[dict[str, Any]]) -> None:
    """Append changes of the candidates, numbered from `first`."""
    rows = [
        {"project_id": project_id, "sequence": sequence, **change} for sequence, change in enumerate(made, start=first)
    ]
    insert_many(session, _CHANGES, rows)


def get(session: Session, project_id: str, example_id: str) -> Example | None:
    """One example."""
    query = select(Example).where(Example.project_id == project_id, Example.example_id == example_id)
    return session.scalars(query.where(visible(project_id))).first()


def pool_rows(session: Session, project_id: str, *, start: int, stop: int) -> Sequence[int]:
    """The rows of [start, stop) that hold a visible example of the pool, and none of the test rows."""
    return session.scalars(_in_pool(select(Example.row), project_id, start, stop)).all()


def count_pool_rows(session: Session, project_id: str, *, start: int, stop: int) -> int:
    """How many `pool_rows` there are."""
    return session.execute(_in_pool(select(func.count(Example.row)), project_id, start, stop)).scalar_one()


def _in_pool(query: Select[int], project_id: str, start: int, stop: int) -> Select[int]:
    query = query.where(Example.project_id == project_id, Example.split == "pool", visible(project_id))
    return query.where(Example.row >= start, Example.row < stop)


def pool_size(session: Session, project_id: str) -> int:
    """How many visible examples the pool has, test rows not counted."""
    query = select(func.count()).select_from(Example).where(Example.project_id == project_id, visible(project_id))
    return session.execute(query.where(Example.split == "pool")).scalar_one()


def gold_answers(session: Session, project_id: str) -> dict[str, str]:
    """The right answers of the gold questions, by id."""
    query = select(Example.example_id, Example.gold).where(Example.project_id == project_id)
    found = session.execute(query.where(Example.gold.is_not(None)))
    return {example_id: answer for example_id, answer in found if answer is not None}


def page(
    session: Session, project_id: str, *, status: Status | None, overlap: int, after: int, size: int, now: datetime
) -> Sequence[Example]:
    """Examples in order of their rows, from behind a row on."""
    query = select(Example).where(Example.project_id == project_id, Example.row > after, visible(project_id))
    if status is not None:
        query = query.where(_has_status(status, overlap=overlap, now=now))
    return session.scalars(query.order_by(Example.row).limit(size)).all()


def _has_status(status: Status, *, overlap: int, now: datetime) -> ColumnElement[bool]:
    labeled = Example.label_count > 0
    skipped = (Example.skip_count > 0) if overlap == 1 else Example.skip_count < 0
    if status == "labeled":
        return labeled
    if status == "skipped":
        return ~labeled & skipped
    if status == "unlabeled":
        return ~labeled & ~skipped
    live = (Lease.project_id == Example.project_id) & (Lease.example_id == Example.example_id)
    return ~labeled & ~skipped & exists().where(live, Lease.expires_at > now)


def leased(session: Session, project_id: str, ids: Sequence[str], *, now: datetime) -> set[str]:
    """Which of the examples are promised to somebody."""
    live = select(Lease.example_id).where(Lease.project_id == project_id, Lease.expires_at > now)
    return set(session.scalars(live.where(among(session, Lease.example_id, ids))))


def answered(session: Session, project_id: str) -> list[tuple[int, str, int, int]]:
    """Row, split, labels and skips of every example that has any."""
    query = select(Example.row, Example.split, Example.label_count, Example.skip_count)
    query = query.where(Example.project_id == project_id, (Example.label_count > 0) | (Example.skip_count > 0))
    return [(row, split, labels, skips) for row, split, labels, skips in session.execute(query)]
