"""A whole service of one's own for a while: `gleaner up` as a child process, for the demo and the benchmark."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.cli.supervisor import gleaner_command, start

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_NAME = "up.log"
_READY = re.compile(rb"^Gleaner is ready at (\S+)$", re.MULTILINE)
_TAIL_BYTES = 4096


class StartError(Exception):
    """The service did not start."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running service.

    Attributes:
        url: Of the API.
        key: The admin key.
        folder: Its data folder.
        process: `gleaner up`.
        start_seconds: From the start of the process until the API answered that it is ready.
    """

    url: str
    key: str
    folder: Path
    process: subprocess.Popen[bytes]
    start_seconds: float


@contextmanager
def running(folder: Path, *, workers: int = 2, settings: dict[str, str] | None = None) -> Iterator[Embedded]:
    """Run the service on a data folder, on a free port, for the time of the block; it dies with this process.

    Settings of this process's environment are not passed on: they may name servers that other people use.

    Args:
        folder: The data folder; the output of all processes goes into `up.log` in it.
        workers: How many worker processes.
        settings: `GLEANER_*` variables.

    Raises:
        StartError: It ended, or was not ready in time.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GLEANER_")}
    words = ("up", "--data-dir", str(folder), "--port", "0", "--workers", str(workers))
    with (folder / LOG_NAME).open("wb") as log:
        begin = time.perf_counter()
        process = start(gleaner_command(*words), environment | (settings or {}), output=log)
    try:
        url = _wait_until_ready(process, folder / LOG_NAME)
        seconds = time.perf_counter() - begin
        yield Embedded(url, (folder / "admin-key").read_text().strip(), folder, process, seconds)
    finally:
        _stop(process)


def log_tail(folder: Path, lines: int = 20) -> str:
    """The last lines of what the service in `folder` said, tracebacks inside them unfolded."""
    path = folder / LOG_NAME
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = log.read().decode(errors="replace").replace("\\n", "\n")
    return "\n".join(text.splitlines()[-lines:])


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := _READY.search(log.read_bytes()):
            return found[1].decode()
        time.sleep(0.01)
    if process.poll() is None:
        raise StartError(f"The service was not ready within {READY_SECONDS:.0f} seconds.")
    raise StartError(f"The service ended while it started (exit code {process.returncode}).")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for _ in range(2):  # the second signal makes it hurry
        process.terminate()
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(STOP_SECONDS)
            return
    process.kill()
    process.wait()
