"""The statistics of PostgreSQL's planner."""

from sqlalchemy import column, func, select, table, text
from sqlalchemy.orm import Session

from service.db.tables import Table


def changed_tables(session: Session, *, rows: int, part: float) -> list[str]:
    """Those of our tables in which more than `rows` rows and a `part` of all changed since they were analyzed.

    They come in the order of their names, as ANALYZE locks them; none on SQLite.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    names = ("schemaname", "relname", "n_mod_since_analyze", "n_live_tup")
    known = table("pg_stat_user_tables", *(column(name) for name in names))
    ours = (known.c.schemaname == func.current_schema()) & known.c.relname.in_(Table.metadata.tables)
    grown = known.c.n_mod_since_analyze > rows + part * known.c.n_live_tup
    return list(session.scalars(select(known.c.relname).where(ours, grown).order_by(known.c.relname)))


def analyze(session: Session, name: str) -> None:
    """Let the planner look at a table."""
    session.execute(text(f"ANALYZE {session.get_bind().dialect.identifier_preparer.quote(name)}"))
