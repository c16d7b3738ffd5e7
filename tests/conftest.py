import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service.api.deps.runtime import Runtime
from tests.support.runtime import Api, make_api, make_runtime

# A shell that runs the tests in the background ignores Ctrl-C for them, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def api(runtime: Runtime) -> Iterator[Api]:
    made = make_api(runtime)
    with made.http:
        yield made
