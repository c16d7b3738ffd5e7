"""Redis and PostgreSQL as processes of one's own, on ports of loopback."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from service.cli.redis_server import find_server
from tests.support.postgres import binaries

POSTGRESQL_USER = "postgres"


def start_redis(folder: Path, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a server that keeps nothing on disk."""
    folder.mkdir(exist_ok=True)
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [str(find_server()), *words, "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def make_postgresql(folder: Path) -> None:
    """Make the files of a server, owned by the user that may run it."""
    folder.mkdir()
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    words = ["-U", POSTGRESQL_USER, "--auth=trust", "--no-sync", "-E", "UTF8"]
    command = [str(binaries() / "initdb"), "-D", str(folder / "files"), *words]
    subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder)


def start_postgresql(folder: Path, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server on `port`; after a kill it recovers by itself."""
    (folder / "files" / "postmaster.pid").unlink(missing_ok=True)
    settings = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "log_min_messages": "fatal",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return subprocess.Popen(
        [str(binaries() / "postgres"), "-D", str(folder / "files"), *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        user=_user(),
        cwd=folder,
    )


def postgresql_answers(folder: Path, port: int) -> bool:
    """Whether the server takes connections."""
    command = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False, cwd=folder).returncode == 0


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return POSTGRESQL_USER if os.getuid() == 0 else None
