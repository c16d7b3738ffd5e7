"""What a statement did."""

from typing import Any

from sqlalchemy import Executable
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
