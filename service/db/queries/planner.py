"""What PostgreSQL's planner knows of tables that have just filled up."""

from sqlalchemy import column, func, select, table, text
from sqlalchemy.orm import Session

_KNOWS_FROM_BYTES = 500_000


def analyze_young_tables(session: Session) -> list[str]:
    """Analyze the tables of PostgreSQL that have grown and were never analyzed; which ones.

    Its own housekeeping comes to that after a minute, and until then it looks 1,000 keys up by reading whole projects.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    tables = table("pg_class", column("oid"), column("relname"), column("relkind"), column("reltuples"))
    young = select(tables.c.relname).where(tables.c.relkind == "r", tables.c.reltuples <= 0)
    mine = young.where(func.pg_table_is_visible(tables.c.oid), tables.c.relname.not_like("pg_%"))
    grown: list[str] = list(session.scalars(mine.where(func.pg_relation_size(tables.c.oid) > _KNOWS_FROM_BYTES)))
    quote = session.get_bind().dialect.identifier_preparer.quote
    for name in grown:
        session.execute(text(f"ANALYZE {quote(name)}"))
    return grown
