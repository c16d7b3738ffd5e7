"""The whole service as many processes, each of which may die at any moment and is then started again."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import httpx

from service.cli.supervisor import gleaner_command
from service.security.keys import generate
from tests.chaos import servers
from tests.chaos.disk import Disk
from tests.chaos.proxy import Proxy
from tests.support import processes
from tests.support.ports import HeldPort
from tests.support.postgres import PostgresServer
from tests.support.redis_server import wait_until

DatabaseKind = Literal["sqlite", "postgresql"]

RESTART_SECONDS = 0.3
JOB_LEASE_SECONDS = 3.0
LEADER_LEASE_SECONDS = 2.0
# Short leases and deadlines, so that a run of minutes meets the end of many.
SETTINGS = {
    "JOB_LEASE_SECONDS": JOB_LEASE_SECONDS,
    "LEADER_LEASE_SECONDS": LEADER_LEASE_SECONDS,
    "SWEEP_SECONDS": 1,
    "IDEMPOTENCY_LEASE_SECONDS": 3,
    "UPLOAD_LEASE_SECONDS": 3,
    "WEBHOOK_ALLOW": "127.0.0.0/8",
    "WEBHOOK_TIMEOUT_SECONDS": 2,
    "LOG_LEVEL": "warning",
}


@dataclass
class Member:
    """A process that is started again whenever it has ended."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    due_at: float = 0.0
    deaths: int = 0
    codes: list[int] = field(default_factory=list)

    def tend(self) -> None:
        """Start the process if it has ended a moment ago."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self.codes.append(self.process.returncode)
            self.process, self.due_at = None, now + RESTART_SECONDS
            self.deaths += 1
        if self.process is None and now >= self.due_at:
            self.process = self.start()


class Cluster:
    """Two API processes, two dispatchers, two workers, a Redis-protocol server and perhaps PostgreSQL.

    Redis and PostgreSQL are reached through a proxy each. `tend` must be called often.

    Args:
        folder: All files; on `disk` lie those of the service.
        database: Which one.
    """

    def __init__(self, folder: Path, database: DatabaseKind) -> None:
        self.folder = folder
        self.database = database
        self.disk = Disk(folder / "data")
        self.key = generate()
        self._ports = [HeldPort() for _ in range(3)]  # who was killed comes back on its own
        *ports, self.redis_port = (port.number for port in self._ports)
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.proxies = {"redis": Proxy(self.redis_port)}
        self.members = [Member("redis", lambda: servers.start_redis(folder / "redis", self.redis_port, self._log))]
        self._log: IO[bytes] = (folder / "cluster.log").open("ab")
        self._environment = {
            **{f"GLEANER_{name}": str(value) for name, value in SETTINGS.items()},
            "PATH": "/usr/bin:/bin",
            "GLEANER_DATA_DIR": str(self.disk.folder),
            "GLEANER_REDIS_URL": f"redis://127.0.0.1:{self.proxies['redis'].port}",
            "GLEANER_ADMIN_KEY": self.key,
            "GLEANER_SECRET_KEY": "chaos " + generate(),
        }
        if database == "postgresql":
            self._add_postgresql()
        api = [("serve", "--port", str(port)) for port in ports]
        roles = [*api, ("dispatcher",), ("dispatcher",), ("worker",), ("worker", "--queues", "training,interactive")]
        self._roles = [self._role(*words) for words in roles]

    def start(self) -> None:
        """Start everything and wait until both API processes are ready."""
        self.tend()
        if self.database == "postgresql":
            wait_until(self._postgresql.answers)
        migrated = subprocess.run(gleaner_command("migrate"), env=self._environment, check=False, capture_output=True)
        assert migrated.returncode == 0, migrated.stderr.decode()
        self.members += self._roles
        self.wait_until_ready()

    def tend(self) -> None:
        """Start again what has ended."""
        for member in self.members:
            member.tend()

    def pause(self, seconds: float) -> None:
        """Let time pass, tending."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tend()
            time.sleep(0.05)

    def wait_until_ready(self) -> None:
        """Wait until every API process says that all stores answer."""
        wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        self.tend()
        return all(self._status(url) == "ok" for url in self.urls)

    def _status(self, url: str) -> str | None:
        with suppress(httpx.TransportError):
            status: str = httpx.get(f"{url}/readyz", timeout=2, trust_env=False).json().get("status")
            return status
        return None

    def pids(self, name: str) -> list[list[int]]:
        """Whom a fault of `name` can hit: each a list of processes that are hit together."""
        if name == "horse":
            return [[pid] for pid in processes.horses(self.folder)]
        if name == "postgresql":
            pid = self._member("postgresql").process
            return [] if pid is None else [[pid.pid, *servers.children(pid.pid)]]
        found = [member.process.pid for member in self.members if member.name == name and member.process is not None]
        return [[pid, *servers.children(pid)] if name == "worker" else [pid] for pid in found]

    def told(self) -> str:
        """What all processes wrote."""
        return (self.folder / "cluster.log").read_text(errors="replace")

    def close(self) -> None:
        """Kill everything."""
        for member in self.members:
            if member.process is not None:
                for pid in (member.process.pid, *servers.children(member.process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                member.process.wait()
        processes.send((process.pid for process in processes.of_folder(self.folder)), signal.SIGKILL)
        for proxy in self.proxies.values():
            proxy.close()
        for port in self._ports:
            port.close()
        if self.database == "postgresql":
            self._postgresql.close()
        self._log.close()
        self.disk.close()

    def _member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    def _add_postgresql(self) -> None:
        folder = self.folder / "postgresql"
        folder.mkdir()
        self._postgresql = PostgresServer(folder)
        self.proxies["sql"] = Proxy(self._postgresql.port)
        self.members.append(Member("postgresql", self._postgresql.launch))
        self._environment["GLEANER_DATABASE_URL"] = self._postgresql.url(port=self.proxies["sql"].port)

    def _role(self, *words: str) -> Member:
        # No preexec_fn: this process has threads.
        return Member(
            words[0],
            lambda: subprocess.Popen(
                gleaner_command(*words),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            ),
        )


@contextmanager
def running(database: DatabaseKind) -> Iterator[Cluster]:
    """A started cluster, of which nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="gleaner-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may be another user
        cluster = Cluster(folder, database)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()
