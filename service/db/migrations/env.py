"""Alembic's entry: runs the revisions on the engine that `upgrade` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import func, select

from service.db.tables import Table
from service.db.types import Json, UtcTime

_LOCK = 7_465_910_283  # any number that nobody else locks


def _render_item(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Write plain SQL types into revisions, so that they outlive our own type classes."""
    del autogen
    if kind == "type" and isinstance(item, UtcTime):
        return "sa.DateTime(timezone=True)"
    return "sa.Text()" if kind == "type" and isinstance(item, Json) else False


def _run(**options: Any) -> None:
    """Apply the revisions in one transaction; of several processes that do, the others find it done."""
    engine = context.config.attributes["engine"].execution_options(gleaner_write=True)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        context.configure(connection=connection, target_metadata=Table.metadata, render_item=_render_item, **options)
        context.run_migrations()


_run()
