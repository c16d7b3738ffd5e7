"""What a statement did."""

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.orm import Session


def changed(session: Session, statement: Executable) -> int:
    """Run an UPDATE or DELETE and count its rows."""
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    count: int = result.rowcount
    return count
