"""Settings as the command line reads them: everything that is wrong is said at once."""

from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from service.security.keys import check_admin_key, check_secret_key
from service.settings import Settings
from service.storage.objects import RESTORE_MARKER


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, with options of the command line before the environment.

    Raises:
        click.ClickException: Some are wrong; the message names each variable and never shows its value.
    """
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        wrong = [f"  GLEANER_{_variable(problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        raise click.ClickException("\n".join(["These settings are wrong:", *wrong])) from error
    try:
        if settings.admin_key is not None:
            check_admin_key(settings.admin_key.get_secret_value())
        if settings.secret_key is not None:
            check_secret_key(settings.secret_key.get_secret_value(), "GLEANER_SECRET_KEY")
        for earlier in settings.earlier_secrets:
            check_secret_key(earlier, "GLEANER_OLD_SECRET_KEYS")
    except ValueError as error:
        raise click.ClickException(f"These settings are wrong:\n  {error}") from error
    return settings


def make_data_folder(settings: Settings) -> Path:
    """Make the data folder if need be, for this user alone, and return its absolute path.

    A group may be let in, as volumes do that several containers share.

    Raises:
        click.ClickException: It cannot be made, or every user of the machine can look into it.
    """
    folder = settings.data_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The data folder {folder} cannot be made: {error.strerror}.") from error
    if folder.stat().st_mode & 0o007:
        raise click.ClickException(
            f"The data folder {folder} is open to every user of this machine. Run `chmod o-rwx {folder}`, or name a "
            "folder inside it in GLEANER_DATA_DIR, which is then made for this user alone."
        )
    return folder


def open_data_folder(settings: Settings) -> Path:
    """Make the data folder as `make_data_folder` does, and refuse one in which a restore was cut off.

    Raises:
        click.ClickException: It cannot be used.
    """
    folder = make_data_folder(settings)
    if (settings.objects_dir / RESTORE_MARKER).exists():
        raise click.ClickException(
            f"A restore into {folder} was cut off, or is under way. Repeat `gleaner restore` with the same backup, or "
            "begin with an empty database and an empty data folder."
        )
    return folder


def _variable(location: tuple[int | str, ...]) -> str:
    return str(location[0]).upper() if location else "*"
