import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.actions import backups, jobs, restores
from service.actions.backups import MANIFEST, BackupError, Manifest
from service.api.deps.runtime import Runtime
from service.cli.main import main
from service.db.session import Database
from service.settings import Settings
from service.storage.local import LocalObjects
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.redis_server import wait_until
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.stack import Stack, filled, points, running
from tests.support.working import drain, run_job

ASKED = {"k": 7, "seed": 3, "lease_seconds": 0, "strategy": "margin"}


def quiet(_phase: str, _done: int, _total: int) -> None:
    """Nobody listens."""


@dataclass
class Service:
    """A service with local files, run in this process."""

    runtime: Runtime
    api: Api

    def back_up(self, target: Path, *, derived: bool = True, tell: Callable[[str, int, int], None] = quiet) -> Manifest:
        database = Database(self.runtime.settings.sql_url)
        try:
            return backups.back_up(
                target,
                snapshot=database.snapshot,
                objects=self.runtime.objects,
                derived=derived,
                now=datetime.now(UTC),
                tell=tell,
            )
        finally:
            database.close()

    def train(self, project_id: str) -> None:
        assert self.api.http.post(f"/v1/projects/{project_id}/trainings", json={}).status_code == 202
        drain(self.runtime)


def service_in(folder: Path) -> Iterator[Service]:
    folder.mkdir(mode=0o700, exist_ok=True)
    made = make_runtime(folder)
    runtime = replace(made, objects=LocalObjects(made.settings.objects_dir))
    api = make_api(runtime)
    with api.http:
        yield Service(runtime, api)
    runtime.database.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield from service_in(tmp_path / "old")


def learnt(service: Service) -> tuple[str, str]:
    """A project with a model and predictions, and the job of a batch."""
    project_id = service.api.project()
    add_examples(service.api, project_id, 120)
    add_labels(service.api, project_id, range(20))
    service.train(project_id)
    return project_id, batch(service.api, project_id, **ASKED)["job_id"]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def restored(source: Path, folder: Path) -> Result:
    return invoke("restore", source, "--data-dir", folder)


def moved(service: Service, old: Service) -> None:
    service.api.http.headers.update(old.api.http.headers)


@pytest.mark.parametrize("derived", [True, False])
def test_a_restored_service_answers_as_before(service: Service, tmp_path: Path, *, derived: bool) -> None:
    project_id, job_id = learnt(service)
    manifest = service.back_up(tmp_path / "backup", derived=derived)
    assert any("predictions" in name for name in manifest.parts) == derived
    path = f"/v1/jobs/{job_id}/batch"
    body, again = service.api.http.get(path).content, batch(service.api, project_id, **ASKED)
    assert restored(tmp_path / "backup", tmp_path / "new").exit_code == 0
    for new in service_in(tmp_path / "new"):
        moved(new, service)
        assert new.api.http.get(path).content == body
        found = batch(new.api, project_id, **ASKED)
        assert (found["items"], found["model"]) == (again["items"], again["model"])
        labels = f"/v1/projects/{project_id}/labels"
        assert new.api.http.get(labels).content == service.api.http.get(labels).content
        add_labels(new.api, project_id, range(20, 30))
        assert list(new.runtime.objects.list("restore-under-way/")) == []


def test_unfinished_jobs_go_on_after_a_restore(service: Service, tmp_path: Path) -> None:
    project_id, _ = learnt(service)
    waiting, held = (ask(service.api, project_id, **ASKED) for _ in range(2))
    with service.runtime.write() as session:
        assert jobs.claim(session, held, lease=timedelta(minutes=5), now=datetime.now(UTC)) is not None
    service.back_up(tmp_path / "backup")
    assert restored(tmp_path / "backup", tmp_path / "new").exit_code == 0
    for new in service_in(tmp_path / "new"):
        moved(new, service)
        assert new.api.http.get(f"/v1/jobs/{held}").json()["state"] == "queued"
        for job_id in (waiting, held):
            run_job(new.runtime, job_id)
            assert new.api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


def test_what_is_deleted_during_a_backup_makes_it_read_the_tables_again(service: Service, tmp_path: Path) -> None:
    project_id, _ = learnt(service)
    phases: list[str] = []

    def tell(phase: str, _done: int, _total: int) -> None:
        phases.append(phase)
        if phase == "objects" and "objects" not in phases[:-1]:
            add_labels(service.api, project_id, range(30, 40))
            service.train(project_id)  # deletes the predictions that the backup is about to copy

    manifest = service.back_up(tmp_path / "backup", tell=tell)
    assert manifest.rows["models"] == 2
    restores.verify(tmp_path / "backup", manifest, tell=quiet)
    files = {path.relative_to(tmp_path / "backup").as_posix() for path in (tmp_path / "backup").rglob("*.*")}
    assert {name for name in files if name.startswith("objects/")} <= set(manifest.parts)


def test_a_backup_refuses_to_overwrite_or_to_leave_out(service: Service, tmp_path: Path) -> None:
    learnt(service)
    (tmp_path / "there").mkdir()
    with pytest.raises(BackupError, match="overwrites nothing"):
        service.back_up(tmp_path / "there")
    next((tmp_path / "old/objects/models").rglob("*.skops")).unlink()
    with pytest.raises(BackupError, match="1 objects that the tables name are gone"):
        service.back_up(tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


def test_a_damaged_or_newer_backup_writes_nothing(service: Service, tmp_path: Path) -> None:
    learnt(service)
    source = tmp_path / "backup"
    manifest = service.back_up(source)
    for name in manifest.parts:
        path = source / name
        content = path.read_bytes()
        if not content:
            continue
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        result = restored(source, tmp_path / "new")
        assert result.exit_code == 1
        assert f"such as {name}" in result.output
        path.write_bytes(content)
    told = json.loads((source / MANIFEST).read_bytes())
    (source / MANIFEST).write_text(json.dumps({**told, "revision": "9999"}))
    assert "a later release" in restored(source, tmp_path / "new").output
    assert not (tmp_path / "new/gleaner.sqlite3").exists()
    assert list(LocalObjects(tmp_path / "new/objects").list()) == []


def test_a_restore_needs_an_empty_service(service: Service, tmp_path: Path) -> None:
    learnt(service)
    service.back_up(tmp_path / "backup")
    result = restored(tmp_path / "backup", tmp_path / "old")
    assert result.exit_code == 1
    assert "not empty" in result.output


def test_a_cut_off_restore_is_known_and_repeated(service: Service, tmp_path: Path) -> None:
    project_id, _ = learnt(service)
    first, second, new = tmp_path / "first", tmp_path / "second", tmp_path / "new"
    manifest = service.back_up(first)
    add_labels(service.api, project_id, [50])
    service.back_up(second)
    new.mkdir(mode=0o700)
    settings = Settings(data_dir=new)
    objects, database = LocalObjects(settings.objects_dir), Database(settings.sql_url)

    def cut_off(phase: str, done: int, _total: int) -> None:
        if phase == "objects" and done == 1:
            raise KeyboardInterrupt

    with database.read() as session:
        assert restores.begin(session, first, objects=objects)
    database.close()
    with pytest.raises(KeyboardInterrupt):
        restores.put_objects(first, manifest, objects=objects, tell=cut_off)
    assert "restore of another backup was cut off" in restored(second, new).output
    assert restored(first, new).exit_code == 0
    assert "not empty" in restored(first, new).output


@pytest.mark.processes
def test_every_label_acknowledged_before_a_backup_is_in_it(tmp_path: Path) -> None:
    _, truth = points(900)
    names = list(truth)
    acknowledged: list[str] = []
    stop = threading.Event()
    with running("--workers", "1") as stack:
        client = stack.client
        project_id = filled(client, rows=900, labelled=40, retraining={"automatic": True, "every": 20})
        made = client.query(project_id, lease_seconds=0)
        client.succeeded(made)
        answered = client.batch(made)

        def label() -> None:
            for name in names[40:]:
                if stop.is_set():
                    return
                assert client.label(project_id, {name: truth[name]}).json()["created"] == 1
                acknowledged.append(name)

        thread = threading.Thread(target=label)
        thread.start()
        try:
            wait_until(lambda: len(acknowledged) >= 20)
            before = len(acknowledged)
            told = stack.add("backup", str(tmp_path / "backup"), "--data-dir", str(stack.folder))
            assert told.wait(60) == 0, stack.told()[-2000:]
            after = len(acknowledged)
        finally:
            stop.set()
            thread.join()
    assert after > before
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder:
        new = Path(folder)
        assert restored(tmp_path / "backup", new).exit_code == 0
        stack = Stack(new)
        try:
            stack.start("--workers", "1")
            labels = stack.client.labels(project_id)
            count = len(labels)
            assert labels == {name: truth[name] for name in names[:count]}  # a prefix of what was sent
            assert 40 + before <= count <= 40 + after + 1  # one may be stored and its answer under way
            assert stack.client.batch(made) == answered
            unfinished = stack.client.http.get(f"/v1/projects/{project_id}/jobs").json()["items"]
            stack.client.ended([job["id"] for job in unfinished])
            stack.client.succeeded(stack.client.query(project_id))
        finally:
            stack.clear()
