"""What PostgreSQL's planner knows of the tables."""

from sqlalchemy import column, select, table, text
from sqlalchemy.orm import Session

_CHANGED_ROWS = 1000
_CHANGED_PART = 0.1


def analyze_changed_tables(session: Session) -> list[str]:
    """Analyze the tables of PostgreSQL that have changed by a tenth since it last looked; which ones.

    Its own housekeeping comes to that after minutes. Until then it takes a new project for an empty one, and looks
    1,000 keys up by reading all that the project has.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    known = table("pg_stat_user_tables", column("relname"), column("n_mod_since_analyze"), column("n_live_tup"))
    enough = _CHANGED_ROWS + _CHANGED_PART * known.c.n_live_tup
    changed = list(session.scalars(select(known.c.relname).where(known.c.n_mod_since_analyze > enough)))
    quote = session.get_bind().dialect.identifier_preparer.quote
    for name in changed:
        session.execute(text(f"ANALYZE {quote(name)}"))
    return changed
