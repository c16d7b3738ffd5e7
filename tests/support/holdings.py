"""Everything that a service holds."""

from sqlalchemy import select

from service.db.tables import Table
from tests.support.runtime import Api


def holdings(api: Api) -> dict[str, list[str]]:
    """Every row of every table but when keys were last used, the names of the objects, and what was rung."""
    with api.runtime.database.read() as session:
        found = {
            table.name: sorted(map(repr, session.execute(select(*(c for c in table.c if c.name != "last_used_at")))))
            for table in Table.metadata.sorted_tables
        }
    return {**found, "objects": sorted(api.runtime.objects.list("")), "queue": sorted(api.runtime.queue.waiting())}
