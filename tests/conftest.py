import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from service.api.deps.runtime import Runtime
from tests import scheduling
from tests.support.databases import default_kind
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.runtime import Api, make_api, make_runtime

# A shell that runs the tests in the background ignores Ctrl-C for them, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests."""
    scheduling.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.Scheduling:
    """Share the tests out."""
    return scheduling.Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of this process; each test makes databases of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the tables are: SQLite in the test's folder, or what `GLEANER_TEST_DATABASE` or a parameter names."""
    if getattr(request, "param", default_kind()) == "sqlite":
        yield ""
        return
    server = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def runtime(tmp_path: Path, database_url: str) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, database_url=database_url)
    yield made
    made.database.close()


@pytest.fixture
def api(runtime: Runtime) -> Iterator[Api]:
    made = make_api(runtime)
    with made.http:
        yield made
