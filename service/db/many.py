"""Statements over many values at once: PostgreSQL takes them as arrays, as which they cost it a third of the time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    FromClause,
    Insert,
    Table,
    Update,
    any_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from service.db.types import Json

Rows = Sequence[Mapping[str, Any]]


def among(session: Session, column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    """The condition that a column has one of the values, however many they are."""
    if _has_arrays(session):
        one: ColumnElement[bool] = column == any_(literal(list(values), ARRAY(column.type)))
        return one
    known = func.json_each(literal(list(values), Json)).table_valued("value")
    among_them: ColumnElement[bool] = column.in_(select(known.c.value))
    return among_them


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Send what the block writes by this module as one statement where the database can: each costs a round trip.

    Nothing in the block reads what it writes, or writes to a row twice.
    """
    if not _has_arrays(session):
        yield
        return
    gathered = session.info["together"] = []
    try:
        yield
    finally:
        del session.info["together"]
    if gathered:
        session.execute(select(literal(1)).add_cte(*(part.cte() for part in gathered)))


def write(session: Session, statement: Insert | Update | Delete) -> None:
    """Run a statement whose result nobody reads, now or with those that it goes `together` with."""
    gathered = session.info.get("together")
    if gathered is None:
        session.execute(statement, execution_options={"synchronize_session": False})
    else:
        gathered.append(statement)


def insert_many(session: Session, table: Table, rows: Rows) -> None:
    """Insert rows that have the same columns."""
    if not rows:
        return
    if not _has_arrays(session):
        session.execute(insert(table), list(rows))
        return
    names = list(rows[0])
    values = _as_table(table, names, rows)
    write(session, insert(table).from_select(names, select(*(values[name] for name in names))))


def update_many(session: Session, table: Table, rows: Rows, *, key: str, **where: Any) -> None:
    """Change rows that are found by the column `key` among those `where` other columns have these values.

    All of `rows` have `key` and new values of the same columns.
    """
    if not rows:
        return
    names = [name for name in rows[0] if name != key]
    mine = update(table).where(*(table.c[name] == value for name, value in where.items()))
    if _has_arrays(session):
        values = _as_table(table, [key, *names], rows)
        write(session, mine.where(table.c[key] == values[key]).values({name: values[name] for name in names}))
        return
    # an UPDATE keeps the names of its columns for itself
    renamed = [{f"of_{key}": row[key], **{f"new_{name}": row[name] for name in names}} for row in rows]
    each = mine.where(table.c[key] == bindparam(f"of_{key}"))
    session.connection().execute(each.values({name: bindparam(f"new_{name}") for name in names}), renamed)


def map_values(session: Session, column: Any, values: Mapping[str, str], *, where: Any, **also: Any) -> None:
    """Change a column from each of some values to another where a condition holds, and set other columns `also`."""
    if not values:
        return
    rows = update(column.table).where(where)
    if _has_arrays(session):
        arrays = (literal(list(part), ARRAY(column.type)) for part in (values, values.values()))
        pairs: FromClause = func.unnest(*arrays).table_valued("old", "new").render_derived()
        rows = rows.where(column == pairs.c.old).values({column.name: pairs.c.new, **also})
    else:
        each = func.json_each(literal(list(values.items()), Json)).table_valued("value")
        old, new = (func.json_extract(each.c.value, f"$[{place}]") for place in range(2))
        # of what is a list without repetition, and cast, SQLite makes an index
        pairs = select(cast(old, column.type).label("old"), new.label("new")).distinct().subquery()
        found = select(pairs.c.new).where(pairs.c.old == column).scalar_subquery()
        rows = rows.where(column.in_(select(pairs.c.old))).values({column.name: found, **also})
    write(session, rows)


def _has_arrays(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _as_table(table: Table, names: Sequence[str], rows: Rows) -> dict[str, ColumnElement[Any]]:
    """The columns of rows as a table; what is the same in all of them is sent once."""
    columns: dict[str, ColumnElement[Any]] = {}
    arrays: dict[str, ColumnElement[Any]] = {}
    for name in names:
        values = [row[name] for row in rows]
        kind = table.c[name].type
        if arrays and all(value is values[0] for value in values):
            columns[name] = literal(values[0], kind)
        else:
            arrays[name] = literal(values, ARRAY(kind))
    found: FromClause = func.unnest(*arrays.values()).table_valued(*arrays).render_derived()
    columns.update((name, found.c[name]) for name in arrays)
    return columns
