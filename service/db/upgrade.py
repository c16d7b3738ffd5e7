"""Migrations: bring a database to the present schema."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from service.db.tables import SCHEMA, Table


def _config(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def script(engine: Engine) -> ScriptDirectory:
    """The revisions."""
    return ScriptDirectory.from_config(_config(engine))


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply the missing revisions, up to one; a database that is already current is only read."""
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_heads()
    if current != (SCHEMA,):
        command.upgrade(_config(engine), revision)


def differences(engine: Engine) -> list[object]:
    """What the tables declare and the migrated database lacks; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Table.metadata))
