from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api.deps.runtime import Runtime
from service.telemetry import configure_logging
from tests.support.runtime import Api, make_api, make_runtime

# As in production: the default of structlog renders tracebacks with all their values, which takes minutes.
configure_logging("error", role="tests")


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
