from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.databases import default_kind
from tests.support.places import Place, Service, service_at


@pytest.fixture
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes an empty place of a name, on the kind of database that is tested or on another."""
    with ExitStack() as opened:

        def make(name: str, kind: str = "") -> Place:
            folder = tmp_path / name
            folder.mkdir(mode=0o700)
            if (kind or default_kind()) == "sqlite":
                return Place(folder)
            server = request.getfixturevalue("postgres")
            url = server.create_empty_database()
            opened.callback(server.drop_database, url)
            return Place(folder, url)

        yield make


@pytest.fixture
def service(make_place: Callable[..., Place]) -> Iterator[Service]:
    with service_at(make_place("old")) as made:
        yield made
