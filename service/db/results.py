"""What a statement did."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.db.tables import Table


def added(session: Session, row: Table) -> bool:
    """Insert a row; false when another transaction was faster with its key, which leaves this one usable."""
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return False
    return True


def changed(session: Session, statement: Executable) -> int:
    """Run an UPDATE or DELETE and count its rows."""
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    count: int = result.rowcount
    return count


def removed(session: Session, table: type[Table], condition: ColumnElement[bool], *, limit: int | None = None) -> int:
    """Delete rows, except those that another transaction has locked, as nobody may wait for several; how many."""
    key = list(table.__table__.primary_key)
    idle = select(*key).where(condition).limit(limit).with_for_update(skip_locked=True).cte("idle", nesting=True)
    return changed(session, delete(table).where(tuple_(*key).in_(select(idle))))
