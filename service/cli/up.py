"""`gleaner up`: the whole service on one machine, as supervised processes."""

import os
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from pathlib import Path

import click

from service.catalog.plugins import GROUP
from service.cli import redis_server
from service.cli.configuration import load_settings, open_data_folder, print_config, warn_of_unknown
from service.cli.lock import FolderInUseError, hold
from service.cli.ready import readiness
from service.cli.supervisor import TICK_SECONDS, Child, StopSignals, end, gleaner_command, start
from service.queue.messages import INTERACTIVE, MAINTENANCE, TRAINING
from service.settings import Settings

IN_USE_EXIT_CODE = 2
REDIS_STOP_SECONDS = 1.0
ADOPTED_WITHIN_SECONDS = 3.0  # a second server would take the socket from one that is only slow, and leave it orphaned
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with, not listened on


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data.  [default: ./gleaner-data]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Worker processes.")
@print_config
def up(data_dir: Path | None, host: str, port: int, workers: int) -> None:
    """Run everything on this machine, until Ctrl-C.

    Starts a private Redis-protocol server (unless GLEANER_REDIS_URL names one), brings the database in the data folder
    up to date, and runs the API, the dispatcher and the workers. The first of several workers is reserved for queries.
    Started again on the same folder, it goes on where it was.
    """
    settings = load_settings(data_dir=data_dir)
    warn_of_unknown()
    folder = open_data_folder(settings)
    try:
        with hold(folder):
            sys.exit(Instance(settings, folder, host=host, port=port, workers=workers).run())
    except FolderInUseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(IN_USE_EXIT_CODE)


class Instance:
    """One run of the service in a data folder."""

    def __init__(self, settings: Settings, folder: Path, *, host: str, port: int, workers: int) -> None:
        self._settings = settings
        self._folder = folder
        self._host = host
        self._held, self._port = _hold(host, port)
        self._environment = {**os.environ, "GLEANER_DATA_DIR": str(folder)}
        self._redis = None if settings.redis_url else self._redis_child()
        self._serve = self._role("serve", "--host", host, "--port", str(self._port))
        self._children = [self._serve]
        self._later = [self._role("dispatcher"), self._workers(workers)]
        self._stop = StopSignals()

    @property
    def url(self) -> str:
        """Where a client on this machine finds the API."""
        host = ANY_ADDRESS.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def run(self) -> int:
        """Run until told to stop; return the exit code."""
        try:
            if metadata.entry_points(group=GROUP) and not self._done("plugins", "a plug-in cannot be used"):
                return 0 if self._stop.count else 1
            if self._redis is not None:
                self._redis.tend()
            self._serve.tend()  # it loads while the database is prepared, and is ready only then
            if not self._done("migrate", "the database could not be prepared"):
                return 0 if self._stop.count else 1
            self._introduce()
            return self._supervise()
        except (redis_server.ServerNotFoundError, PermissionError) as error:
            raise click.ClickException(str(error)) from error
        finally:
            end(self._children, hurry=lambda: self._stop.count > 1)
            self._stop_redis()
            self._held.close()

    def _supervise(self) -> int:
        ready = False
        while not self._stop.count:
            for child in [self._redis, *self._children] if self._redis else self._children:
                child.tend()
            if not ready:
                if self._serve.deaths:
                    click.echo("Error: the API did not start; its messages are above.", err=True)
                    return 1
                state = readiness(self.url, seconds=1)
                ready = state is not None and (self._redis is None or self._redis.adopted())
                if ready:
                    click.echo(f"Gleaner is ready at {self.url}")
                    if state == "degraded" and self._redis is None:
                        click.echo("Warning: GLEANER_REDIS_URL does not answer. Jobs wait until it does.", err=True)
                    self._children += self._later  # not before: on few cores they would hold the API up
            time.sleep(TICK_SECONDS)
        return 0

    def _done(self, command: str, otherwise: str) -> bool:
        process = start(gleaner_command(command), self._environment)
        while process.poll() is None and not self._stop.count:
            time.sleep(TICK_SECONDS)
        if process.poll() is None:
            process.kill()
        if process.wait() and not self._stop.count:
            click.echo(f"Error: {otherwise}; the reason is above.", err=True)
        return process.returncode == 0

    def _introduce(self) -> None:
        key = "GLEANER_ADMIN_KEY" if self._settings.admin_key else str(self._folder / "admin-key")
        click.echo(f"Gleaner {metadata.version('gleaner')}")
        for name, value in {
            "API": self.url,
            "documentation": f"{self.url}/docs",
            "admin key": key,
            "data": str(self._folder),
        }.items():
            click.echo(f"  {name:<15}{value}")

    def _role(self, *words: str) -> Child:
        return Child(f"gleaner {words[0]}", partial(start, gleaner_command(*words), self._environment))

    def _workers(self, count: int) -> Child:
        if count == 1:
            return self._role("worker", "--queues", f"{INTERACTIVE},{TRAINING},{MAINTENANCE}")
        others = ("--queues", f"{TRAINING},{MAINTENANCE},{INTERACTIVE}") * (count - 1)
        return self._role("worker", "--queues", INTERACTIVE, *others)

    def _redis_child(self) -> Child:
        path = self._settings.redis_socket
        return Child(
            "The Redis-protocol server",
            partial(redis_server.start, path, self._folder),
            adopted=partial(redis_server.answers, path, seconds=ADOPTED_WITHIN_SECONDS),
        )

    def _stop_redis(self) -> None:
        if self._redis is None:
            return
        path = self._settings.redis_socket
        redis_server.shut_down(path)
        deadline = time.monotonic() + REDIS_STOP_SECONDS
        while redis_server.answers(path) and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        end([self._redis], hurry=lambda: False, seconds=REDIS_STOP_SECONDS)


def _hold(host: str, port: int) -> tuple[ExitStack, int]:
    """Bind `port`, or a free one for 0, and do not listen: the API does, and comes back on it whenever it has ended.

    On Linux nobody else is given the port until what is returned with it is closed. Other systems let the API not
    listen on what is bound here, so that it is free again at once.

    Raises:
        click.ClickException: The address cannot be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as unless_held:
            bound = unless_held.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            number = int(bound.getsockname()[1])
            return unless_held.pop_all() if sys.platform == "linux" else ExitStack(), number
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise click.ClickException(
            f"Cannot listen on {host} port {port}: {reason}. Choose others with --host and --port."
        ) from error
