import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.support import Containers

# They need images that were built before: `make compose-test`.
collect_ignore_glob = [] if "GLEANER_TEST_CONTAINERS" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A stack that nobody else uses, of which nothing is left afterwards."""
    made = Containers(Path(tmp_path_factory.mktemp("secrets")))
    try:
        made.start()
        yield made
    finally:
        made.remove()
