"""One API process on a free port, and clients that are slow."""

import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.cli.supervisor import gleaner_command, start
from tests.support.ports import HeldPort
from tests.support.redis_server import PATIENCE_SECONDS, wait_until

SETTINGS = {
    "GLEANER_HEAD_TIMEOUT_SECONDS": "2",
    "GLEANER_STALL_SECONDS": "2",
    "GLEANER_MAX_CONNECTIONS": "400",
    "GLEANER_MAX_CONNECTIONS_PER_ADDRESS": "300",
}


class Server:
    """One API process on a free port, whose log is kept."""

    def __init__(self, folder: Path, processes: int = 1, /, **settings: str) -> None:
        self.folder = folder
        environment = {"GLEANER_DATA_DIR": str(folder), "PATH": "", **SETTINGS, **settings}
        folder.chmod(0o700)
        subprocess.run(gleaner_command("migrate"), env=environment, check=True, capture_output=True)
        self.key = (folder / "admin-key").read_text().strip()
        self._port = HeldPort()
        self.port = self._port.number
        with (folder / "log").open("wb") as log:
            self.process = start(
                gleaner_command("serve", "--port", str(self.port), "--workers", str(processes)), environment, output=log
            )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connect(self, data: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        made.sendall(data)
        return made

    def end(self) -> None:
        """Stop it in good order."""
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self._port.close()

    def is_up(self) -> bool:
        try:
            return self.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def ask(self, data: bytes) -> bytes:
        """Send bytes, and read until the server closes."""
        with self.connect(data) as made:
            return read_all(made)


def read_all(made: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    with suppress(ConnectionResetError):  # the server closed with bytes of ours unread; what it had answered is here
        while piece := made.recv(65536):
            found += piece
    return found


@contextmanager
def serving(folder: Path, processes: int = 1, /, **settings: str) -> Iterator[Server]:
    """Run a server in a folder."""
    server = Server(folder, processes, **settings)
    try:
        wait_until(server.is_up)
        yield server
    finally:
        server.end()


def post(server: Server, rest: str = "Content-Length: 1000000", path: str = "/v1/projects/prj_x/labels") -> bytes:
    """The head of a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    return f"{head}Content-Type: application/x-ndjson\r\n{rest}\r\n\r\n".encode()


def slow_start(server: Server, number: int) -> bytes:
    """What a slow connection begins with: a head, a body, nothing or a request line."""
    kinds = [b"GET /livez HTTP/1.1\r\nX: a", post(server), b"", b"POST /v1/keys?"]
    return kinds[number % len(kinds)]


def is_cut_off(made: socket.socket) -> bool:
    """Whether the server has closed the connection."""
    made.setblocking(False)
    try:
        while made.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def trickle(slow: Iterable[socket.socket]) -> None:
    """Send a byte over each connection that still is one."""
    for made in slow:
        with suppress(OSError):  # cut off by then
            made.send(b"a")
