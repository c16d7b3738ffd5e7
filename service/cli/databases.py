"""The database of a service that is there."""

from pathlib import Path

import click
from sqlalchemy.engine import make_url

from service.cli.configuration import COMMAND_CONNECTIONS
from service.db.session import Database
from service.settings import Settings


def database_of_service(settings: Settings) -> Database:
    """The database of a service that is there, where SQLite would make an empty one.

    Raises:
        click.ClickException: There is none.
    """
    url = make_url(settings.sql_url)
    is_file = url.get_backend_name() == "sqlite" and "uri" not in url.query  # a URI says itself whether to make one
    if is_file and not Path(url.database or "").exists():
        raise click.ClickException(f"There is no service: {url.database} does not exist.")
    return Database(settings.sql_url, connections=COMMAND_CONNECTIONS)
