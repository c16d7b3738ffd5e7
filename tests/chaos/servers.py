"""Redis as a process of one's own on a port of loopback, and the processes that others start."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from service.cli.redis_server import find_server


def start_redis(folder: Path, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a server that keeps nothing on disk."""
    folder.mkdir(exist_ok=True)
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [str(find_server()), *words, "--maxmemory-policy", "noeviction", "--loglevel", "warning"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found
