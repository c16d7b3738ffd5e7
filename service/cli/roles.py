"""The roles: each a process, against the servers that the settings name."""

# ruff: noqa: PLC0415  # each role imports its own world, when it runs
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from service import imports
from service.cli import crew
from service.cli.configuration import COMMAND_CONNECTIONS, load_settings, open_data_folder, print_config, read_key_file
from service.cli.plugins import check_catalogue, explained
from service.queue.messages import QUEUES
from service.telemetry import configure_logging

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.settings import Settings

# The supervisor of `gleaner up` kills what has not stopped after 8 seconds.
GRACEFUL_SHUTDOWN_SECONDS = 7
FILES_OF_ITS_OWN = 512
_COLLECT_AFTER = (2_000, 10, 10)  # Python's 700 cost time on large bodies; at 20,000 garbage piled up
KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep an idle connection


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="API processes.")
@print_config
def serve(host: str, port: int, workers: int) -> None:
    """Run the HTTP API. It computes nothing: trainings and queries are the workers' part."""
    settings = load_settings()
    _check_folder(settings)
    check_catalogue()
    configure_logging(settings.log_level, role="serve")
    with _counted(settings, workers):
        _serve(host, port, workers)


@contextmanager
def _counted(settings: "Settings", workers: int) -> Iterator[None]:
    """Let several API processes count together, and answer with metrics on a listener, if that is wanted."""
    if workers == 1 and not settings.metrics_address:
        yield
        return
    with TemporaryDirectory(prefix="gleaner-metrics-") as folder:
        # here and in each process of the API, before the library is imported
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server raises it again: the folder has to go
        if not settings.metrics_address:
            yield
            return
        from service.cli.metrics import listening

        with listening(settings, Path(folder)):
            yield


def _serve(host: str, port: int, workers: int) -> None:
    import uvicorn

    uvicorn.run(
        "service.cli.roles:app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http="service.cli.connections:BoundedProtocol",
        ws="none",
        log_config=None,
        access_log=False,  # our own middleware logs, with the request id
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
    )


def _raise_open_files(connections: int) -> None:
    """Let the process have as many files open as its connections need, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + FILES_OF_ITS_OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def app() -> "FastAPI":
    """Make the application of one API process."""
    with imports.no_search():
        check_catalogue()  # here too: this may be one of several processes
        with imports.lean():
            from service.app import create_app
        settings = load_settings()
        _raise_open_files(settings.max_connections)
        made = create_app(settings, lifespan=_told_to_stop)
        _collect_seldom()
    return made


def _collect_seldom() -> None:
    """Spare the garbage collector what lives as long as the process, and rows that reference counting frees anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


@asynccontextmanager
async def _told_to_stop(application: "FastAPI") -> AsyncIterator[None]:
    """Let requests that wait hear of the signals that stop the server, which waits for them and tells them nothing."""

    def passed_on(handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def note(number: int, frame: FrameType | None) -> None:
            application.state.stopping.set()
            handler(number, frame)

        return note

    for number in (signal.SIGINT, signal.SIGTERM):
        server = signal.getsignal(number)
        if callable(server):
            signal.signal(number, passed_on(server))
    yield


def _queues(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[list[str]]:
    lists = [[name.strip() for name in value.split(",") if name.strip()] for value in values]
    if not all(names and set(names) <= set(QUEUES) for names in lists):
        raise click.BadParameter(f"choose from {', '.join(QUEUES)}", param_hint="--queues")
    return lists


@click.command()
@click.option(
    "--queues",
    callback=_queues,
    multiple=True,
    default=[",".join(QUEUES)],
    show_default=True,
    help="Queues to serve, comma separated; earlier ones come first. If repeated: as many workers, which share memory.",
)
@print_config
def worker(queues: list[list[str]]) -> None:
    """Run a worker, or several. Each takes one job at a time."""
    settings = load_settings()
    if settings.parallel == "dask" and find_spec("distributed") is None:
        raise click.ClickException("GLEANER_PARALLEL=dask needs the extra `dask` of gleaner.")
    open_data_folder(settings)
    with imports.lean():
        from workers.main import prepare, work
    with explained():
        prepare(settings)
    if len(queues) == 1:
        work(settings, queues[0])
    else:
        crew.run([partial(work, settings, names) for names in queues])


@click.command()
@print_config
def dispatcher() -> None:
    """Run the dispatcher. Several may run; one leads, and another takes over when it is lost."""
    settings = load_settings()
    with imports.no_search():
        check_catalogue()
        with imports.lean():
            from service.dispatcher.main import run
        _check_folder(settings)
    run(settings)


@click.command()
@print_config
def migrate() -> None:
    """Bring the database to the present schema, and make the first admin key."""
    from service.actions.keys import ensure_admin
    from service.db.session import Database
    from service.db.upgrade import upgrade
    from service.errors import ConflictError
    from service.security.keys import generate

    settings = load_settings()
    key_file = open_data_folder(settings) / "admin-key"
    database = Database(settings.sql_url, connections=COMMAND_CONNECTIONS)
    with _preparing():
        upgrade(database.engine)
    if settings.admin_key is not None:
        secret = settings.admin_key.get_secret_value()
    else:
        new = not key_file.exists()
        secret = read_key_file(key_file, generate)
        if new:
            click.echo(f"Admin key, shown this once and kept in {key_file}: {secret}")
    try:
        with _preparing(), database.write() as session:
            ensure_admin(session, secret, now=datetime.now(UTC))
    except ConflictError as error:
        remedy = "Choose another GLEANER_ADMIN_KEY." if settings.admin_key else f"Remove {key_file} for a new one."
        raise click.ClickException(f"{error.detail} {remedy}") from error
    finally:
        database.close()


@contextmanager
def _preparing() -> Iterator[None]:
    """Tell in a sentence what a database answers that cannot be prepared, and to which statement."""
    from sqlalchemy.exc import DBAPIError

    from service.concealing import conceal

    try:
        yield
    except DBAPIError as error:
        told = conceal(str(error.orig)).strip()
        to = f" (to `{' '.join(error.statement.split())[:200]}`)" if error.statement else ""
        raise click.ClickException(f"The database cannot be prepared: {told}{to}") from error


def _check_folder(settings: "Settings") -> None:
    """Refuse a data folder that cannot be used, or a key in it that others can read: before the role starts."""
    folder = open_data_folder(settings)
    if settings.secret_key is None:
        read_key_file(folder / "secret-key")


@click.command()
def openapi() -> None:
    """Print the OpenAPI description of the HTTP API, as JSON."""
    check_catalogue()
    from service.app import create_app

    with TemporaryDirectory() as folder:  # the application makes its folders
        document = create_app(load_settings(data_dir=Path(folder))).openapi()
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    click.echo()
