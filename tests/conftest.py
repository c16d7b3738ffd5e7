import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from service.api.deps.runtime import Runtime
from tests import scheduling
from tests.support import dialects
from tests.support.databases import default_kind, depends_on_kind, objects_kind
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.s3_server import S3Server, running_s3
from tests.support.spare_databases import SpareDatabases

# A shell that runs the tests in the background ignores Ctrl-C for them, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

dialects.share()

# How long a case takes says more of the machine than of the code.
settings.register_profile("gleaner", deadline=None)
settings.load_profile("gleaner")

# The default of structlog renders tracebacks with all their values, which can take minutes.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
    cache_logger_on_first_use=False,
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another run has proved, and order the tests."""
    if default_kind() != "sqlite" and objects_kind() == "memory":
        proved = [item for item in items if not depends_on_kind(item)]
        config.hook.pytest_deselected(items=proved)
        items[:] = [item for item in items if depends_on_kind(item)]
    scheduling.sort(items)


def pytest_collection_finish() -> None:
    """Spare what is loaded by now from every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.Scheduling:
    """Share the tests out."""
    return scheduling.Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of this process; each test makes databases of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def spare_databases(postgres: PostgresServer) -> SpareDatabases:
    """The databases of that server that were used and are empty again."""
    return SpareDatabases(postgres)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the tables are: SQLite in the test's folder, or what `GLEANER_TEST_DATABASE` or a parameter names."""
    if getattr(request, "param", default_kind()) == "sqlite":
        yield ""
        return
    spare = request.getfixturevalue("spare_databases")
    url = spare.take()
    yield url
    spare.give_back(url)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server for all tests of this process; each test has a place of its own."""
    with running_s3() as server:
        yield server


@pytest.fixture
def objects_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the objects are: in memory, or what `GLEANER_TEST_OBJECTS` or a parameter names."""
    if getattr(request, "param", objects_kind()) == "memory":
        return {}
    server: S3Server = request.getfixturevalue("s3")
    return server.settings()


@pytest.fixture
def runtime(tmp_path: Path, database_url: str, objects_settings: dict[str, Any]) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, database_url=database_url, **objects_settings)
    yield made
    made.database.close()


@pytest.fixture
def api(runtime: Runtime) -> Iterator[Api]:
    made = make_api(runtime)
    with made.http:
        yield made
