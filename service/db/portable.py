"""Tables as files that any database of the same revision can be filled from: a line of JSON for each row.

Columns are those of the database itself, not of this code's tables, so that a backup of an older revision is written
and read alike. Bytes are base64, times RFC 3339 in UTC.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, func, insert, select, text
from sqlalchemy.orm import Session

VERSION_TABLE = "alembic_version"
_AT_ONCE = 1000


def tables(session: Session) -> list[Table]:
    """The tables of the database, those that others refer to first; empty when it has no schema."""
    found = MetaData()
    found.reflect(session.connection())
    return [table for table in found.sorted_tables if table.name != VERSION_TABLE]


def revision(session: Session) -> str:
    """The revision of the database's schema."""
    return str(session.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())  # noqa: S608 - a constant


def lines(session: Session, table: Table) -> Iterator[bytes]:
    """The rows of a table in order of their keys, as lines without their end."""
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_AT_ONCE)
    names = [str(column.name) for column in table.columns]
    for row in session.execute(query):
        yield orjson.dumps({name: _shown(value) for name, value in zip(names, row, strict=True)})


def rows(table: Table, source: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """What `lines` was given, as values for `fill`."""
    columns = list(table.columns)
    for line in source:
        told = orjson.loads(line)
        yield {c.name: _stored(c, told[c.name]) for c in columns}


def fill(session: Session, table: Table, values: Iterable[Mapping[str, Any]]) -> int:
    """Insert rows; returns how many."""
    count, block = 0, []
    zoned = session.get_bind().dialect.name != "sqlite"
    for row in values:
        block.append(row if zoned else {name: _without_zone(value) for name, value in row.items()})
        if len(block) == _AT_ONCE:
            session.execute(insert(table), block)
            count, block = count + len(block), []
    if block:
        session.execute(insert(table), block)
    _continue_sequences(session, table)
    return count + len(block)


def size(session: Session, table: Table) -> int:
    """How many rows a table has."""
    return session.execute(select(func.count()).select_from(table)).scalar_one()


def keep_writers_out(session: Session, found: Iterable[Table]) -> None:
    """Let nobody else write to these tables until the transaction ends; on SQLite nobody can."""
    dialect = session.get_bind().dialect
    if dialect.name == "postgresql":
        names = ", ".join(dialect.identifier_preparer.format_table(table) for table in found)
        session.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _continue_sequences(session: Session, table: Table) -> None:
    """Let numbers that PostgreSQL gives begin behind those that are there."""
    column = table.autoincrement_column
    if column is None or session.get_bind().dialect.name != "postgresql":
        return
    sequence = session.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar_one()
    highest = session.execute(select(func.max(column))).scalar_one()
    if sequence is not None and highest is not None:
        session.execute(select(func.setval(sequence, highest)))


def _shown(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc.isoformat()
    return value


def _stored(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, LargeBinary):
        return base64.b64decode(value)
    return datetime.fromisoformat(value) if isinstance(column.type, DateTime) else value


def _without_zone(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
