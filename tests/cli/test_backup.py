import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.actions import jobs, restores
from service.actions.backups import MANIFEST, BackupError
from service.db.upgrade import upgrade
from service.storage.objects import RESTORE_MARKER
from tests.support.own_models import own_model, said
from tests.support.places import ASKED, Place, Service, quiet, service_at
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.stack import Client, Stack, filled, points, running
from tests.support.tables import add_rows, tabular, train
from tests.support.working import run_job

MakePlace = Callable[..., Place]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("source", "target", "derived"),
    [
        ("sqlite", "sqlite", True),
        ("sqlite", "sqlite", False),
        ("postgresql", "postgresql", True),
        ("sqlite", "postgresql and s3", True),
        ("postgresql and s3", "sqlite", True),
    ],
)
def test_a_restored_service_answers_as_before(
    make_place: MakePlace, tmp_path: Path, *, source: str, target: str, derived: bool
) -> None:
    def place(name: str, kind: str) -> Place:
        database, _, store = kind.partition(" and ")
        return make_place(name, database, s3=bool(store))

    new_place = place("new", target)
    with service_at(place("old", source)) as old:
        project_id, job_id = old.learnt()
        manifest = old.back_up(tmp_path / "backup", derived=derived)
        assert any("predictions" in name for name in manifest.parts) == derived
        paths = [f"/v1/jobs/{job_id}/batch", f"/v1/projects/{project_id}/labels", f"/v1/projects/{project_id}/examples"]
        answers = [old.api.http.get(path).content for path in paths]
        again = batch(old.api, project_id, **ASKED)
        assert new_place.invoke("restore", tmp_path / "backup").exit_code == 0
        with service_at(new_place, moved_from=old) as new:
            assert [new.api.http.get(path).content for path in paths] == answers
            found = batch(new.api, project_id, **ASKED)
            assert (found["items"], found["model"]) == (again["items"], again["model"])
            add_labels(new.api, project_id, range(20, 30))
            add_examples(new.api, project_id, 5, first=1000)
            assert not new_place.objects.exists(RESTORE_MARKER)
        assert new_place.invoke("check").stdout == "Nothing is wrong.\n"


@pytest.mark.parametrize("derived", [True, False])
def test_uploaded_predictions_are_in_every_backup(
    service: Service, make_place: MakePlace, tmp_path: Path, *, derived: bool
) -> None:
    project_id, _ = service.learnt()
    own_model(service.api, project_id, said(range(100)))
    before = batch(service.api, project_id, **ASKED)
    manifest = service.back_up(tmp_path / "backup", derived=derived)
    assert len([name for name in manifest.parts if "external" in name]) == 2
    place = make_place("new")
    assert place.invoke("restore", tmp_path / "backup").exit_code == 0
    with service_at(place, moved_from=service) as new:
        after = batch(new.api, project_id, **ASKED)
        assert (after["items"], after["model"], after["pool"]) == (before["items"], before["model"], before["pool"])
    assert place.invoke("check").stdout == "Nothing is wrong.\n"


@pytest.mark.parametrize("derived", [True, False])
def test_what_tables_mean_is_in_every_backup(
    service: Service, make_place: MakePlace, tmp_path: Path, *, derived: bool
) -> None:
    project_id = tabular(service.api)
    add_rows(service.api, project_id, 60)
    train(service.api, project_id, 20)
    before = batch(service.api, project_id, **ASKED)
    service.back_up(tmp_path / "backup", derived=derived)
    place = make_place("new")
    assert place.invoke("restore", tmp_path / "backup").exit_code == 0
    with service_at(place, moved_from=service) as new:
        after = batch(new.api, project_id, **ASKED)
        assert (after["items"], after["model"], after["pool"]) == (before["items"], before["model"], before["pool"])
        assert train(new.api, project_id, 5, first=20)["version"] == 2
    assert place.invoke("check").stdout == "Nothing is wrong.\n"


def test_unfinished_jobs_go_on_after_a_restore(service: Service, make_place: MakePlace, tmp_path: Path) -> None:
    project_id, _ = service.learnt()
    waiting, held = (ask(service.api, project_id, **ASKED) for _ in range(2))
    with service.runtime.write() as session:
        assert jobs.claim(session, held, lease=timedelta(minutes=5), now=datetime.now(UTC)) is not None
    service.back_up(tmp_path / "backup")
    place = make_place("new")
    assert place.invoke("restore", tmp_path / "backup").exit_code == 0
    with service_at(place, moved_from=service) as new:
        assert new.api.http.get(f"/v1/jobs/{held}").json()["state"] == "queued"
        for job_id in (waiting, held):
            run_job(new.runtime, job_id)
            assert new.api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


def test_what_is_deleted_during_a_backup_makes_it_read_the_tables_again(service: Service, tmp_path: Path) -> None:
    project_id, _ = service.learnt()
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
    service.learnt()
    (tmp_path / "there").mkdir()
    with pytest.raises(BackupError, match="overwrites nothing"):
        service.back_up(tmp_path / "there")
    next((tmp_path / "old/objects/models").rglob("*.skops")).unlink()
    with pytest.raises(BackupError, match="1 objects that the tables name are gone"):
        service.back_up(tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


@pytest.fixture(scope="module")
def learnt(unchanged: Service) -> Service:
    """A service with a model, which none of these tests changes."""
    unchanged.learnt()
    return unchanged


def test_a_damaged_or_newer_backup_writes_nothing(learnt: Service, make_place: MakePlace, tmp_path: Path) -> None:
    source, place = tmp_path / "backup", make_place("new")
    manifest = learnt.back_up(source)
    for name in manifest.parts:
        path = source / name
        content = path.read_bytes()
        if not content:
            continue
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        result = place.invoke("restore", source)
        assert result.exit_code == 1
        assert f"such as {name}" in result.output
        path.write_bytes(content)
    told = json.loads((source / MANIFEST).read_bytes())
    (source / MANIFEST).write_text(json.dumps({**told, "revision": "9999"}))
    assert "a later release" in place.invoke("restore", source).output
    assert not (place.folder / "gleaner.sqlite3").exists()
    assert list(place.objects.list()) == []


def test_a_restore_needs_an_empty_service(learnt: Service, tmp_path: Path) -> None:
    learnt.back_up(tmp_path / "backup")
    result = learnt.place.invoke("restore", tmp_path / "backup")
    assert result.exit_code == 1
    assert "not empty" in result.output


def test_rows_that_come_during_a_restore_end_it(learnt: Service, make_place: MakePlace, tmp_path: Path) -> None:
    source, place = tmp_path / "backup", make_place("new")
    manifest = learnt.back_up(source)
    with place.database() as database:
        upgrade(database.engine)
        with database.read() as session:
            assert restores.begin(session, source, manifest, objects=place.objects)
    with service_at(place) as running_already:
        running_already.api.project()
    with place.database() as database, pytest.raises(BackupError, match="not empty"), database.write() as session:
        restores.fill_tables(session, source, manifest, now=datetime.now(UTC), tell=quiet)
    result = place.invoke("restore", source)
    assert result.exit_code == 1
    assert "not empty" in result.output


class Labelling:
    """Somebody who labels one example after the other, until the end of the block."""

    def __init__(self, client: Client, project_id: str, truth: dict[str, str]) -> None:
        self.acknowledged = 0
        self._stop = threading.Event()
        self._client, self._project_id, self._truth = client, project_id, truth

    def work(self) -> None:
        """Label until told to stop."""
        for name, label in self._truth.items():
            if self._stop.is_set():
                return
            assert self._client.label(self._project_id, {name: label}).json()["created"] == 1
            self.acknowledged += 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The time in which labels come."""
        thread = threading.Thread(target=self.work)
        thread.start()
        try:
            wait_until(lambda: self.acknowledged >= 20)
            yield
        finally:
            self._stop.set()
            thread.join()


@pytest.mark.processes
def test_every_label_acknowledged_before_a_backup_is_in_it(make_place: MakePlace, tmp_path: Path) -> None:
    truth = points(900)[1]
    names = list(truth)
    with running("--workers", "1", database_url=make_place("old").database_url) as stack:
        client = stack.client
        project_id = filled(client, rows=900, labelled=40, retraining={"automatic": True, "every": 20})
        made = client.query(project_id, lease_seconds=0)
        client.succeeded(made)
        answered = client.batch(made)
        stack.freeze_workers()
        unfinished = [client.query(project_id), client.train(project_id)]
        labelling = Labelling(client, project_id, {name: truth[name] for name in names[40:]})
        with labelling.under_way():
            before = labelling.acknowledged
            told = stack.add("backup", str(tmp_path / "backup"))
            assert told.wait(PATIENCE_SECONDS) == 0, stack.told()[-2000:]
            after = labelling.acknowledged
    assert after > before
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder:
        place = Place(Path(folder), make_place("new").database_url)
        assert place.invoke("restore", tmp_path / "backup").exit_code == 0
        stack = Stack(place.folder, database_url=place.database_url)
        try:
            stack.start("--workers", "1")
            labels = stack.client.labels(project_id)
            count = len(labels)
            assert labels == {name: truth[name] for name in names[:count]}  # a prefix of what was sent
            assert 40 + before <= count <= 40 + after + 1  # one may be stored and its answer under way
            assert stack.client.batch(made) == answered
            stack.client.succeeded(*unfinished, stack.client.query(project_id))
        finally:
            stack.clear()
