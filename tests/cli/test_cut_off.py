"""Backups and restores that are killed in the middle: nothing half looks whole, and no service starts on it."""

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from service.actions import restores
from service.actions.backups import MANIFEST
from service.db import portable
from service.db import session as sessions
from service.db.tables import SCHEMA, Project
from service.db.upgrade import upgrade
from tests.support.killed import run_killed
from tests.support.places import Place, Service, service_at
from tests.support.pools import add_labels

MakePlace = Callable[..., Place]
KILLED = -signal.SIGKILL
# Where a restore is killed, in order: at which call of what.
BEFORE_IT_WRITES = [("service.actions.restores.verify", 1), ("os.fsync", 1)]
HALF_WAY = [
    ("service.actions.restores.put_objects", 1),
    ("service.storage.local.LocalObjects.put", 3),
    ("service.storage.local.LocalObjects.put", 4),
    ("service.cli.backup.upgrade", 1),
    ("alembic.op.create_index", 5),
    ("service.actions.restores.fill_tables", 1),
    ("service.db.portable.fill", 8),
    ("sqlalchemy.orm.Session.commit", 1),
    ("service.cli.backup.upgrade", 2),
    ("service.actions.restores.end", 1),
]
# The same of a backup.
BACKUP = [
    ("service.actions.backups.write_part", 1),
    ("service.actions.backups.write_part", 12),
    ("service.db.portable.lines", 9),
    ("service.storage.local.LocalObjects.blocks", 2),
    ("service.actions.backups.sync_tree", 1),
    ("pathlib.Path.rename", 1),
]


@pytest.fixture(scope="module")
def backup(unchanged: Service, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, bytes]:
    """A backup, and a batch in it: its path and its bytes."""
    _, job_id = unchanged.learnt()
    path, target = f"/v1/jobs/{job_id}/batch", tmp_path_factory.mktemp("backup") / "whole"
    unchanged.back_up(target)
    return target, path, unchanged.api.http.get(path).content


def restore_killed(place: Place, source: Path, at: tuple[str, int]) -> None:
    assert run_killed(*at, "restore", source, environment=place.environment) == KILLED


def restore_again(place: Place, source: Path, service: Service, path: str, body: bytes) -> None:
    """The same command completes it."""
    result = place.invoke("restore", source)
    assert result.exit_code == 0, result.output
    assert place.invoke("check", "--grace", "0").stdout == "Nothing is wrong.\n"
    with service_at(place, moved_from=service) as new:
        assert new.api.http.get(path).content == body
    assert place.invoke("migrate").exit_code == 0


@pytest.mark.parametrize("at", BEFORE_IT_WRITES, ids=str)
def test_a_restore_that_is_killed_before_it_writes_leaves_nothing(
    unchanged: Service, make_place: MakePlace, backup: tuple[Path, str, bytes], at: tuple[str, int]
) -> None:
    place = make_place("new")
    restore_killed(place, backup[0], at)
    assert list(place.objects.list()) == []
    with place.database() as database, database.read() as session:
        assert portable.tables(session) == []
    restore_again(place, backup[0], unchanged, *backup[1:])


@pytest.mark.parametrize("at", HALF_WAY, ids=str)
def test_no_service_starts_on_half_a_restore(
    unchanged: Service, make_place: MakePlace, backup: tuple[Path, str, bytes], at: tuple[str, int]
) -> None:
    place, target = make_place("new"), backup[0].with_name("of-half")
    restore_killed(place, backup[0], at)
    for words in (["up", "--port", "0"], ["serve"], ["worker"], ["dispatcher"], ["migrate"], ["backup", target]):
        result = place.invoke(*words)
        assert result.exit_code == 1
        assert "Repeat `gleaner restore` with the same backup" in result.output
    assert not target.exists()
    checked = place.invoke("check", "--json")
    assert (checked.exit_code, found_by(checked.stdout)) == (1, ["unfinished-restore"])
    restore_again(place, backup[0], unchanged, *backup[1:])


def found_by(output: str) -> list[str]:
    return [finding["kind"] for finding in json.loads(output)["findings"]]


def test_another_backup_is_not_restored_over_half_of_one(
    unchanged: Service, make_place: MakePlace, backup: tuple[Path, str, bytes], tmp_path: Path
) -> None:
    place, second = make_place("new"), tmp_path / "second"
    unchanged.back_up(second)
    restore_killed(place, backup[0], HALF_WAY[1])
    result = place.invoke("restore", second)
    assert (result.exit_code, "restore of another backup was cut off" in result.output) == (1, True)
    restore_again(place, backup[0], unchanged, *backup[1:])
    assert "not empty" in place.invoke("restore", backup[0]).output


def test_nobody_writes_while_rows_are_restored(
    make_place: MakePlace, backup: tuple[Path, str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, manifest = make_place("new"), restores.read_manifest(backup[0], revisions={SCHEMA})
    tried = []

    def write(_phase: str, done: int, _total: int) -> None:
        tried.append(done)
        monkeypatch.setattr(sessions, "_BUSY_MILLISECONDS", 100)
        with place.database() as other, pytest.raises(OperationalError, match="lock"), other.write() as session:
            session.execute(delete(Project))

    with place.database() as database:
        upgrade(database.engine)
        with database.write() as session:
            restores.fill_tables(session, backup[0], manifest, now=datetime.now(UTC), tell=write)
    assert tried == list(range(len(tried)))
    assert len(tried) > len(manifest.rows) / 2


@pytest.fixture(scope="module")
def used(unchanged: Service) -> tuple[Service, str]:
    """A service with a project that goes on, after all that need it as it was."""
    return unchanged, unchanged.learnt()[0]


@pytest.mark.parametrize("at", BACKUP, ids=str)
def test_a_backup_that_is_killed_is_none(
    used: tuple[Service, str], make_place: MakePlace, tmp_path: Path, at: tuple[str, int]
) -> None:
    service, project_id = used
    target = tmp_path / "backup"
    assert run_killed(*at, "backup", target, environment=service.place.environment) == KILLED
    assert not target.exists()
    for left in tmp_path.glob("*.partial-*"):
        whole = (left / MANIFEST).exists()
        place = make_place("partial")
        result = place.invoke("restore", left)
        assert (result.exit_code == 0) == whole
        assert whole or "is no backup" in result.output
    add_labels(service.api, project_id, [60 + BACKUP.index(at)])
    assert service.place.invoke("backup", target).exit_code == 0
