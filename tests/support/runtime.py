"""An API over a real database, with the in-memory queue and object store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from service.actions import keys
from service.api.deps.runtime import Runtime, utc_now
from service.app import build
from service.db.session import Database
from service.queue.memory import MemoryQueue
from service.security.addresses import AddressGuard
from service.security.sealing import Sealer
from service.settings import Settings
from service.storage.memory import MemoryObjects
from service.storage.stores import open_objects
from tests.support.databases import SQLITE_NAME, empty_sqlite

SEALED_WITH = "a secret of the tests"


def make_runtime(folder: Path, **settings: Any) -> Runtime:
    """A runtime on its own folder, on a database that has the present schema: a new one in SQLite has it."""
    chosen = Settings(data_dir=folder, **settings)
    file = folder / SQLITE_NAME
    if not chosen.database_url and not file.exists():
        file.write_bytes(empty_sqlite())
    guard = AddressGuard(chosen.webhook_allow)
    objects = open_objects(chosen) if chosen.objects_url else MemoryObjects()
    return Runtime(chosen, Database(chosen.sql_url), MemoryQueue(), objects, Sealer(SEALED_WITH), guard)


@dataclass
class Api:
    """A client with an admin key."""

    runtime: Runtime
    http: TestClient

    def key(self, *scopes: str, project_id: str | None = None) -> dict[str, str]:
        """Headers with a new key of these scopes."""
        with self.runtime.database.write() as session:
            _, secret = keys.create(
                session, name="test", scopes=list(scopes), project_id=project_id, expires_at=None, now=utc_now()
            )
        return {"Authorization": f"Bearer {secret}"}

    def project(self, **changes: Any) -> str:
        """A new project's id: two-dimensional vectors, classes a and b."""
        body: dict[str, Any] = {
            "name": "test",
            "task": {"type": "classification", "classes": ["a", "b"]},
            "features": {"type": "vector", "dimensions": 2},
            **changes,
        }
        answer = self.http.post("/v1/projects", json=body)
        assert answer.status_code == 201, answer.text
        project_id: str = answer.json()["id"]
        return project_id


def make_api(runtime: Runtime) -> Api:
    """A client of an application over `runtime`."""
    api = Api(runtime, TestClient(build(runtime), raise_server_exceptions=True))
    api.http.headers.update(api.key("admin"))
    return api
