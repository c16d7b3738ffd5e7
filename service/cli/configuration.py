"""Settings as the command line reads them: everything that is wrong is said at once."""

import os
import re
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr, ValidationError

from service.catalog.names import meant
from service.concealing import conceal
from service.errors import UnavailableError
from service.security.keys import check_admin_key, check_secret_key
from service.security.sealing import load_or_create
from service.settings import Settings
from service.storage.objects import RESTORE_MARKER
from service.storage.stores import open_objects

COMMAND_CONNECTIONS = 4
_HIDDEN = "..."
_NEARLY = 0.9  # how alike a variable is to a setting that was meant by it
_OF_KUBERNETES = re.compile(r"GLEANER_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_\w+|PORT=tcp:)[^\n]*")
_PASSWORD_PARAMETER = re.compile(r"([?&][^=&]*passw[^=&]*=)[^&]+", re.IGNORECASE)


def print_config(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command print the settings that it would have, in place of what it does."""

    @click.option(
        "--print-config", is_flag=True, help="Print the settings that would be in force, without secrets, and exit."
    )
    @wraps(command)
    def printing(*, print_config: bool, **options: Any) -> None:
        if print_config:
            show(load_settings(data_dir=options.get("data_dir")))
        else:
            command(**options)

    return printing


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, with options of the command line before the environment.

    Raises:
        click.ClickException: Some are wrong; the message names each variable and never shows its value.
    """
    told = {name: value for name, value in overrides.items() if value is not None}
    wrong: list[str] = []
    try:
        settings = Settings(**told)
    except ValidationError as error:
        wrong = [f"{_variable(str(problem['loc'][0]))}: {problem['msg']}" for problem in error.errors()]
        bad = {str(problem["loc"][0]) for problem in error.errors()}
        settings = Settings(**{**told, **{name: Settings.model_fields[name].default for name in bad}})
    wrong += [*_mistyped(), *_weak_secrets(settings), *_contradictions(settings)]
    if wrong:
        raise click.ClickException("\n  ".join(["These settings are wrong:", *wrong]))
    return settings


def _mistyped() -> Iterator[str]:
    """Variables that are nearly a setting; those that are like none may be of the surroundings, as of Kubernetes."""
    known = [_variable(name) for name in Settings.model_fields]
    for name in sorted({name.upper() for name in os.environ} - set(known)):
        if question := meant(name, known, closeness=_NEARLY):
            yield f"{name}: there is no such setting.{question}"


def warn_of_unknown() -> None:
    """Say which variables look like settings and are none, but for those of a Kubernetes service of our name."""
    known = {_variable(name) for name in Settings.model_fields}
    found = {name for name in os.environ if name.startswith("GLEANER_")} - known
    if unknown := sorted(name for name in found if not _OF_KUBERNETES.fullmatch(f"{name}={os.environ[name]}")):
        click.echo(f"Warning: {', '.join(unknown)}: there is no such setting.", err=True)


def _weak_secrets(settings: Settings) -> Iterator[str]:
    """What is wrong with the secrets."""
    checks: list[tuple[Callable[..., None], tuple[str, ...]]] = []
    if settings.admin_key is not None:
        checks.append((check_admin_key, (settings.admin_key.get_secret_value(),)))
    if settings.secret_key is not None:
        checks.append((check_secret_key, (settings.secret_key.get_secret_value(), "GLEANER_SECRET_KEY")))
    checks += [(check_secret_key, (earlier, "GLEANER_OLD_SECRET_KEYS")) for earlier in settings.earlier_secrets]
    for check, arguments in checks:
        try:
            check(*arguments)
        except ValueError as error:
            yield str(error)


def _contradictions(settings: Settings) -> Iterator[str]:
    """What does not go together."""
    if bool(settings.s3_access_key) != bool(settings.s3_secret_key):
        yield "GLEANER_S3_ACCESS_KEY and GLEANER_S3_SECRET_KEY go together."
    if settings.objects_url and find_spec("boto3") is None:
        yield "GLEANER_OBJECTS_URL needs the extra `s3` of gleaner."
    if settings.parallel == "dask" and not settings.dask_scheduler:
        yield "GLEANER_PARALLEL=dask needs GLEANER_DASK_SCHEDULER."


def show(settings: Settings) -> None:
    """Print the settings as the variables that would give them, without secrets and passwords."""
    warn_of_unknown()
    for name in Settings.model_fields:
        click.echo(f"{_variable(name)}={_shown(getattr(settings, name))}")


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return _HIDDEN if value else ""
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _PASSWORD_PARAMETER.sub(rf"\1{_HIDDEN}", conceal(text))


def make_data_folder(settings: Settings) -> Path:
    """Make the data folder if need be, for this user alone, and return its absolute path.

    A group may be let in, as volumes do that several containers share.

    Raises:
        click.ClickException: It cannot be made, or every user of the machine can look into it.
    """
    return _private(settings.data_dir.absolute(), "GLEANER_DATA_DIR")


def read_key_file(path: Path, *make: Callable[[], str]) -> str:
    """The secret in a file, which is made when there is none.

    Raises:
        click.ClickException: It is empty, or others can read it.
    """
    try:
        return load_or_create(path, *make)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def open_data_folder(settings: Settings) -> Path:
    """Make the data folder as `make_data_folder` does, and refuse one in which a restore was cut off.

    Raises:
        click.ClickException: It cannot be used.
    """
    folder = make_data_folder(settings)
    if settings.objects_url:
        _private(settings.chunk_cache, "GLEANER_CACHE_DIR")
    try:
        marked = open_objects(settings).exists(RESTORE_MARKER)
    except UnavailableError as error:
        raise click.ClickException(f"The object store does not answer: {error.__cause__}") from error
    if marked:
        raise click.ClickException(
            f"A restore into {folder} was cut off, or is under way. Repeat `gleaner restore` with the same backup, or "
            "begin with an empty database and an empty data folder."
        )
    return folder


def _private(folder: Path, variable: str) -> Path:
    """Make a folder for this user alone, and refuse one that others can look into."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The folder {folder} of {variable} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.ClickException(f"The folder {folder} of {variable} cannot be written to by this user.")
    if folder.stat().st_mode & 0o007:
        raise click.ClickException(
            f"The folder {folder} is open to every user of this machine. Run `chmod o-rwx {folder}`, or name a "
            f"folder inside it in {variable}, which is then made for this user alone."
        )
    return folder


def _variable(name: str) -> str:
    return f"GLEANER_{name.upper()}"
