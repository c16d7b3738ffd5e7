"""What PostgreSQL's planner knows of the tables."""

from sqlalchemy.orm import Session

from service.db.queries import planner as queries

_CHANGED_ROWS = 1000
_CHANGED_PART = 0.1


def refresh(session: Session) -> list[str]:
    """Analyze the tables of PostgreSQL that have changed by a tenth since it last looked; which ones.

    Its own housekeeping comes to that after minutes. Until then it takes a table that has grown for a small one, whose
    rows can all be read for each key that is looked up.
    """
    changed = queries.changed_tables(session, rows=_CHANGED_ROWS, part=_CHANGED_PART)
    for name in changed:
        queries.analyze(session, name)
    return changed
