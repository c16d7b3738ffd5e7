"""`gleaner backup` and `gleaner restore`: everything that a service keeps, in a folder."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy.exc import DBAPIError

from service.actions import backups, restores
from service.actions.backups import BackupError, Manifest
from service.cli.configuration import COMMAND_CONNECTIONS, load_settings, make_data_folder, open_data_folder
from service.cli.databases import database_of_service
from service.cli.lock import FolderInUseError, hold
from service.db.session import Database
from service.db.upgrade import script, upgrade
from service.errors import GleanerError
from service.settings import Settings
from service.storage.parts import sync
from service.storage.stores import open_objects

_TELL_SECONDS = 2.0
_KEYS = """Not in the backup, as they open what is in it:
  the key that seals the secrets of webhooks and programs: {secret}
  the admin key: {admin}
Keep the first apart from the backup: without it every webhook and program needs a new secret (rotate-secret),
and to be switched on again if failures switched it off."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data.  [default: ./gleaner-data]")
@click.option("--without-derived", is_flag=True, help="Leave out features and predictions; jobs make them again.")
def backup(folder: Path, data_dir: Path | None, *, without_derived: bool) -> None:
    """Back the service up into FOLDER, which must not exist. The service may run and be used meanwhile."""
    settings = load_settings(data_dir=data_dir)
    database = database_of_service(settings)
    open_data_folder(settings)
    began = time.monotonic()
    try:
        manifest = backups.back_up(
            folder.absolute(),
            snapshot=database.snapshot,
            objects=open_objects(settings),
            derived=not without_derived,
            now=datetime.now(UTC),
            tell=_Teller(),
        )
    except (BackupError, GleanerError, OSError, DBAPIError) as error:
        raise click.ClickException(_reason(error)) from error
    finally:
        database.close()
    _sum_up(f"Backed up into {folder}", manifest, time.monotonic() - began)
    click.echo(_KEYS.format(secret=_place(settings, "secret_key"), admin=_place(settings, "admin_key")))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data.  [default: ./gleaner-data]")
def restore(folder: Path, data_dir: Path | None) -> None:
    """Restore the backup in FOLDER into empty stores. One that was cut off is repeated by the same command."""
    settings = load_settings(data_dir=data_dir)
    began = time.monotonic()
    data_folder = make_data_folder(settings)
    try:
        with hold(data_folder):
            manifest = _restore(settings, folder.absolute())
    except (FolderInUseError, BackupError, GleanerError, OSError, DBAPIError) as error:
        raise click.ClickException(_reason(error)) from error
    _sum_up(f"Restored {folder}", manifest, time.monotonic() - began)
    given = " (one is given: see that it is that one)" if settings.secret_key else ""
    click.echo(
        f"Next: see that the sealing key of the old service is in {_place(settings, 'secret_key')}{given}, "
        "then start the service. API keys go on working."
    )


def _place(settings: Settings, name: str) -> str:
    """Where a secret is given to the service."""
    given = settings.secrets_dir and settings.secrets_dir / f"gleaner_{name}"
    file = given if given and given.is_file() else settings.data_dir / name.replace("_", "-")
    return f"GLEANER_{name.upper()}, or the file {file}"


def _restore(settings: Settings, folder: Path) -> Manifest:
    database = Database(settings.sql_url, connections=COMMAND_CONNECTIONS)
    tell = _Teller()
    try:
        revisions = {one.revision for one in script(database.engine).walk_revisions()}
        manifest = restores.read_manifest(folder, revisions=revisions)
        restores.verify(folder, manifest, tell=tell)
        objects = open_objects(settings)
        with database.read() as session:
            begun = restores.begin(session, folder, manifest, objects=objects)
        if begun:
            restores.put_objects(folder, manifest, objects=objects, tell=tell)
            upgrade(database.engine, manifest.revision)
            with database.write() as session:
                restores.fill_tables(session, folder, manifest, now=datetime.now(UTC), tell=tell)
        upgrade(database.engine)
        restores.end(objects)
        if not settings.objects_url:  # a marker that a power cut brings back would keep the service from starting
            sync(settings.objects_dir)
    finally:
        database.close()
    return manifest


class _Teller:
    """Says how far it is: at each new step, and every few seconds within it."""

    def __init__(self) -> None:
        self._phase = ""
        self._told_at = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != self._phase or now - self._told_at > _TELL_SECONDS:
            click.echo(f"{phase}: {done} of {total}", err=True)
            self._phase, self._told_at = phase, now


def _sum_up(what: str, manifest: Manifest, seconds: float) -> None:
    rows = sum(manifest.rows.values())
    objects = sum(name.startswith("objects/") for name in manifest.parts)
    click.echo(f"{what}: {rows} rows, {objects} objects, {manifest.bytes / 1e6:.1f} MB, {seconds:.1f} s.")


def _reason(error: Exception) -> str:
    return f"The database does not answer as expected: {error.orig}" if isinstance(error, DBAPIError) else str(error)
