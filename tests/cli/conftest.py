from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.databases import default_kind
from tests.support.places import Place, Service, service_at


@contextmanager
def making_places(request: pytest.FixtureRequest, parent: Path) -> Iterator[Callable[..., Place]]:
    """Makes an empty place of a name, on the kind of database that is tested or on another."""
    with ExitStack() as opened:

        def make(name: str, kind: str = "", *, s3: bool = False) -> Place:
            folder = parent / name
            folder.mkdir(mode=0o700)
            store = request.getfixturevalue("s3").settings() if s3 else {}
            if (kind or default_kind()) == "sqlite":
                return Place(folder, store=store)
            server = request.getfixturevalue("postgres")
            url = server.create_empty_database()
            opened.callback(server.drop_database, url)
            return Place(folder, url, store)

        yield make


@pytest.fixture
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes the places of one test."""
    with making_places(request, tmp_path) as make:
        yield make


@pytest.fixture
def service(make_place: Callable[..., Place]) -> Iterator[Service]:
    with service_at(make_place("old")) as made:
        yield made


@pytest.fixture(scope="module")
def unchanged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that several tests read and none changes."""
    with making_places(request, tmp_path_factory.mktemp("unchanged")) as make, service_at(make("old")) as made:
        yield made
