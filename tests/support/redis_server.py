"""A real Redis-protocol server for tests, that can be stopped and started again on the same socket."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.cli import redis_server

PATIENCE_SECONDS = 240.0  # on a machine that does much else as well, to which trainings give way


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for `condition`; fail when it does not hold after `seconds`, however long it took to ask."""
    deadline = time.monotonic() + seconds
    late = False
    while not condition():
        if late:
            raise AssertionError(f"not within {seconds} seconds")
        late = time.monotonic() > deadline
        time.sleep(0.02)


class RedisServer:
    """A server on a private socket."""

    def __init__(self, folder: Path, socket: Path | None = None) -> None:
        self.folder = folder
        self.socket = socket or folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = redis_server.start(self.socket, self.folder)
        wait_until(lambda: redis_server.answers(self.socket))

    def stop(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run a server in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
