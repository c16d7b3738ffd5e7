"""`gleaner check`: whether tables and objects agree."""

import json
import sys
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from service.actions import checks
from service.actions.checks import Finding
from service.cli.configuration import load_settings, read_key_file
from service.cli.databases import database_of_service
from service.errors import UnavailableError
from service.security.sealing import Sealer
from service.settings import Settings
from service.storage.stores import open_objects

FOUND, UNABLE = 1, 2
_GRACE_SECONDS = 7200.0


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data.  [default: ./gleaner-data]")
@click.option("--repair", is_flag=True, help="Repair what is derived, and remove what nothing names.")
@click.option(
    "--grace",
    type=float,
    help="Seconds that an object without a row is left alone.  [default: 7200, or twice the longest run of a job]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(data_dir: Path | None, *, repair: bool, grace: float | None, as_json: bool) -> None:
    """Look for lost, damaged and left over data. The service may run meanwhile.

    The exit code is 0 when nothing is wrong, or all of it was repaired; 1 when something is; 2 when it cannot be told.
    """
    try:
        found, left, with_secrets = _look(data_dir, repair=repair, grace=grace)
    except click.ClickException as error:
        error.show()
        sys.exit(UNABLE)
    except (SQLAlchemyError, ImportError, OSError, UnavailableError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNABLE)
    _tell(found, left, with_secrets=with_secrets, as_json=as_json)
    sys.exit(FOUND if left else 0)


def _look(data_dir: Path | None, *, repair: bool, grace: float | None) -> tuple[list[Finding], list[Finding], bool]:
    """What is found, what is left of it, and whether secrets were looked at."""
    settings = load_settings(data_dir=data_dir)
    database = database_of_service(settings)
    try:
        sealer = _sealer(settings)
        objects = open_objects(settings.model_copy(update={"cache_mib": 0}))  # copies of a host prove nothing
        seconds = max(_GRACE_SECONDS, 2.0 * settings.job_timeout_seconds) if grace is None else grace
        found = checks.look(snapshot=database.snapshot, objects=objects, sealer=sealer, grace_seconds=seconds)
        left = checks.repair(found, write=database.write) if repair else found
    finally:
        database.close()
    return found, left, sealer is not None


def _sealer(settings: Settings) -> Sealer | None:
    """What opens the secrets of the service; a key that is not here is told, and not made."""
    path = settings.data_dir / "secret-key"
    if settings.secret_key is None and not path.exists():
        click.echo(f"Secrets are not looked at: there is no GLEANER_SECRET_KEY and no {path}.", err=True)
        return None
    secret = settings.secret_key.get_secret_value() if settings.secret_key else read_key_file(path)
    return Sealer(secret, settings.earlier_secrets)


def _tell(found: list[Finding], left: list[Finding], *, with_secrets: bool, as_json: bool) -> None:
    rows = [
        {
            "kind": finding.kind,
            "project_id": finding.project_id or None,
            "name": finding.name,
            "detail": finding.detail,
            "state": _state(finding, left),
        }
        for finding in found
    ]
    if as_json:
        told = {"findings": rows, "found": len(found), "left": len(left), "secrets_looked_at": with_secrets}
        click.echo(json.dumps(told, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['kind']:<18} {row['state']:<11} {row['project_id'] or '-':<31} {row['name']}: {row['detail']}"
        )
    click.echo(f"{len(found)} found, {len(left)} left." if found else "Nothing is wrong.")


def _state(finding: Finding, left: list[Finding]) -> str:
    if finding.repair is None:
        return "lost"
    return "repairable" if finding in left else "repaired"
