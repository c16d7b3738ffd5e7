"""The statistics of PostgreSQL's planner."""

from sqlalchemy import column, select, table, text
from sqlalchemy.orm import Session


def changed_tables(session: Session, *, rows: int, part: float) -> list[str]:
    """Tables in which more than `rows` rows and a `part` of all changed since they were analyzed; none on SQLite."""
    if session.get_bind().dialect.name != "postgresql":
        return []
    known = table("pg_stat_user_tables", column("relname"), column("n_mod_since_analyze"), column("n_live_tup"))
    enough = rows + part * known.c.n_live_tup
    return list(session.scalars(select(known.c.relname).where(known.c.n_mod_since_analyze > enough)))


def analyze(session: Session, name: str) -> None:
    """Let the planner look at a table."""
    session.execute(text(f"ANALYZE {session.get_bind().dialect.identifier_preparer.quote(name)}"))
