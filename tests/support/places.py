"""Services with local files, run in the test's process, and an operator's commands on their stores."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from service.actions import backups
from service.actions.backups import Manifest
from service.api.deps.runtime import Runtime
from service.cli.main import main
from service.db.session import Database
from service.db.upgrade import upgrade
from service.settings import Settings
from service.storage.objects import ObjectStore
from service.storage.stores import open_objects
from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.working import drain

ASKED = {"k": 7, "seed": 3, "lease_seconds": 0, "strategy": "margin"}


def quiet(_phase: str, _done: int, _total: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Place:
    """Where a service keeps what it has.

    Attributes:
        folder: Of all data.
        database_url: Of the tables; empty: SQLite in the folder.
        store: Settings of its object store; none: files in the folder.
    """

    folder: Path
    database_url: str = ""
    store: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name it."""
        store = {f"GLEANER_{name.upper()}": str(value) for name, value in self.store.items()}
        return {"GLEANER_DATA_DIR": str(self.folder), "GLEANER_DATABASE_URL": self.database_url, **store}

    @property
    def settings(self) -> Settings:
        """The settings of a service in it."""
        return Settings(data_dir=self.folder, database_url=self.database_url, **self.store)

    @property
    def objects(self) -> ObjectStore:
        """Its objects."""
        return open_objects(self.settings)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Its tables, on connections of its own."""
        made = Database(self.settings.sql_url)
        try:
            yield made
        finally:
            made.close()

    def invoke(self, *words: object) -> Result:
        """Run a command of `gleaner` on it."""
        return CliRunner().invoke(main, [str(word) for word in words], env=self.environment)


@dataclass
class Service:
    """A service in a place."""

    place: Place
    runtime: Runtime
    api: Api

    def back_up(self, target: Path, *, derived: bool = True, tell: Callable[[str, int, int], None] = quiet) -> Manifest:
        """Back it up."""
        with self.place.database() as database:
            return backups.back_up(
                target,
                snapshot=database.snapshot,
                objects=self.runtime.objects,
                derived=derived,
                now=datetime.now(UTC),
                tell=tell,
            )

    def train(self, project_id: str) -> None:
        """Train a model."""
        assert self.api.http.post(f"/v1/projects/{project_id}/trainings", json={}).status_code == 202
        drain(self.runtime)

    def learnt(self) -> tuple[str, str]:
        """A project with a chunk of vectors, a model and predictions, and the job of a batch."""
        project_id = self.api.project()
        add_examples(self.api, project_id, 1000)
        add_labels(self.api, project_id, range(20))
        self.train(project_id)
        return project_id, batch(self.api, project_id, **ASKED)["job_id"]


@contextmanager
def service_at(place: Place, *, moved_from: Service | None = None) -> Iterator[Service]:
    """A service in a place; one that has moved there is asked with the keys of the old one."""
    made = make_runtime(place.folder, database_url=place.database_url)
    upgrade(made.database.engine)
    runtime = replace(made, objects=place.objects)
    api = make_api(runtime)
    if moved_from is not None:
        api.http.headers.update(moved_from.api.http.headers)
    with api.http:
        yield Service(place, runtime, api)
    runtime.database.close()
