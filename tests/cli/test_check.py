import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from service.actions import checks, large_uploads
from service.cli.main import main
from service.db.tables import Example, Label, Lease, Model, Outbox, Pool
from service.security.sealing import Sealer
from service.storage.artifacts import onnx_key
from tests.support.bodies import points, upload
from tests.support.own_models import own_model, said
from tests.support.places import Place, Service
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import SEALED_WITH, Api
from tests.support.tables import add_rows, tabular, train
from tests.support.working import drain

ASKED = {"k": 5, "seed": 1, "lease_seconds": 0}


@pytest.fixture
def place(service: Service) -> Place:
    return service.place


@pytest.fixture
def api(service: Service) -> Api:
    return service.api


@pytest.fixture
def project_id(service: Service) -> str:
    made = service.api.project()
    add_examples(service.api, made, 60)
    add_labels(service.api, made, range(12))
    service.train(made)
    batch(service.api, made, k=3)
    return made


def check(place: Place, *options: str) -> tuple[int, list[dict[str, Any]]]:
    result = place.invoke("check", "--json", *options)
    assert result.exit_code in {0, 1}, result.output
    return result.exit_code, json.loads(result.stdout)["findings"]


def predictions(place: Place) -> Path:
    (found,) = (place.folder / "objects/arrays").rglob("predictions-*/*.npy")
    return found


def plant(place: Place, name: str) -> None:
    path = place.folder / "objects" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left over")
    os.utime(path, (0, 0))


def sql(change: Callable[[Session], object]) -> Callable[[Api, Place], None]:
    def damage(api: Api, _place: Place) -> None:
        with api.runtime.database.write() as session:
            change(session)

    return damage


def stray_lease(session: Session) -> None:
    lease = session.scalars(select(Lease)).first()
    assert lease is not None
    session.add(
        Lease(
            project_id=lease.project_id,
            example_id="nobody",
            holder="h",
            annotator=None,
            job_id="job_gone",
            row=0,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )
    )


def unrung(api: Api, _place: Place) -> None:
    with api.runtime.database.read() as session:
        project_id = session.scalars(select(Pool.project_id)).one()
    job_id = ask(api, project_id, **ASKED)
    with api.runtime.database.write() as session:
        session.execute(delete(Outbox))
        session.execute(text("UPDATE jobs SET rung_at = NULL WHERE id = :id"), {"id": job_id})


DERIVED: dict[str, Callable[[Api, Place], None]] = {
    "missing-chunk": lambda _, place: predictions(place).unlink(),
    "damaged-chunk": lambda _, place: os.truncate(predictions(place), 200),
    "orphan-object": lambda _, place: plant(place, "arrays/prj_gone/vectors/000000000000-00"),
    "stray-lease": sql(stray_lease),
    "unrung-job": unrung,
    "wrong-count": sql(lambda session: session.execute(update(Pool).values(examples=7))),
    "wrong-candidates": sql(lambda session: session.execute(text("DELETE FROM candidate_changes"))),
}


@pytest.mark.parametrize("kind", DERIVED)
def test_damage_to_what_is_derived_is_found_and_repaired(api: Api, project_id: str, place: Place, *, kind: str) -> None:
    before = batch(api, project_id, **ASKED)["items"]
    assert check(place) == (0, [])
    DERIVED[kind](api, place)
    code, found = check(place)
    assert (code, {finding["kind"] for finding in found}) == (1, {kind})
    code, found = check(place, "--repair")
    assert (code, {finding["state"] for finding in found}) == (0, {"repaired"})
    assert check(place) == (0, [])
    assert batch(api, project_id, **ASKED)["items"] == before


def test_labels_of_examples_are_counted_anew(api: Api, project_id: str, place: Place) -> None:
    with api.runtime.database.write() as session:
        session.execute(update(Example).where(Example.example_id == "e3").values(label_count=0))
    _, found = check(place, "--repair")
    assert {finding["name"] for finding in found} >= {"examples", "examples_labeled"}
    assert check(place) == (0, [])
    assert api.http.get(f"/v1/projects/{project_id}/examples/e3").json()["status"] == "labeled"


def test_what_cannot_be_made_again_is_told(api: Api, project_id: str, place: Place) -> None:
    next((place.folder / "objects/models").rglob("*.skops")).unlink()
    with api.runtime.database.write() as session:
        session.execute(update(Label).where(Label.example_id == "e2").values(example_id="nobody"))
    code, found = check(place, "--repair")
    lost = {finding["kind"] for finding in found if finding["state"] == "lost"}
    assert (code, lost) == (1, {"missing-model", "stray-label"})
    assert api.http.get(f"/v1/projects/{project_id}").status_code == 200


def test_secrets_that_the_key_of_the_service_does_not_open_are_told(api: Api, project_id: str, place: Place) -> None:
    hook = {"url": "https://receiver.example/hook", "events": ["training.succeeded"], "project_id": project_id}
    webhook = api.http.post("/v1/webhooks", json=hook).json()
    program = {"name": "program", "url": "https://receiver.example/label"}
    annotator = api.http.post(f"/v1/projects/{project_id}/annotators", json=program).json()
    key = place.folder / "secret-key"
    for secret, found in ((SEALED_WITH, set()), ("another", {webhook["id"], annotator["id"]})):
        key.write_text(secret, encoding="utf-8")
        key.chmod(0o600)
        code, told = check(place, "--repair")
        assert (code, {one["name"] for one in told}) == (len(found) > 0, found)
        assert {one["kind"] for one in told} <= {"sealed-secret"}


def test_secrets_are_looked_at_with_the_key_only(api: Api, place: Place) -> None:
    hook = {"url": "https://receiver.example/hook", "events": ["training.succeeded"]}
    assert api.http.post("/v1/webhooks", json=hook).status_code == 201
    key = place.folder / "secret-key"
    result = place.invoke("check", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["found"], told["secrets_looked_at"]) == (0, 0, False)
    assert f"there is no GLEANER_SECRET_KEY and no {key}." in result.stderr
    assert not key.exists()


def test_who_cannot_look_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.folder / "secret-key"
    key.touch(0o600)
    assert place.invoke("check").exit_code == 2
    key.unlink()
    key.mkdir()
    assert place.invoke("check").exit_code == 2
    key.rmdir()
    for name, value in (("DATABASE_URL", "postgresql+nothing://x/y"), ("MAX_CONNECTIONS", "many")):
        with monkeypatch.context() as changed:
            changed.setenv(f"GLEANER_{name}", value)
            result = CliRunner().invoke(main, ["check", "--data-dir", str(place.folder)])
        assert (result.exit_code, result.stderr.count("Error: ")) == (2, 1)
    exists = Path.exists

    def forbidden(path: Path) -> bool:
        if path.name == "secret-key":
            raise PermissionError(f"{path}: permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", forbidden)  # as root, who may enter every folder
    assert place.invoke("check").exit_code == 2


def test_a_change_that_cannot_be_read_is_found_and_repaired(api: Api, project_id: str, place: Place) -> None:
    before = batch(api, project_id, **ASKED)["items"]
    with api.runtime.database.write() as session:
        session.execute(text("UPDATE candidate_changes SET stop = 1000000"))
    code, found = check(place)
    assert (code, [finding["kind"] for finding in found]) == (1, ["wrong-candidates"])
    assert "1000000" in found[0]["detail"]
    assert check(place, "--repair")[0] == 0
    assert batch(api, project_id, **ASKED)["items"] == before


def look_then_repair(place: Place, happens: Callable[[], object]) -> tuple[set[str], set[str]]:
    """The kinds of what is found, and of what is left though it is repaired after something has happened."""
    with place.database() as database:
        found = checks.look(
            snapshot=database.snapshot, objects=place.objects, sealer=Sealer(SEALED_WITH), grace_seconds=7200
        )
        happens()
        left = checks.repair(found, write=database.write)
    return {finding.kind for finding in found}, {finding.kind for finding in left}


def test_counts_wait_for_a_large_upload(
    api: Api, project_id: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_slices, repaired = Event(), Event()
    slices = large_uploads._slices  # noqa: SLF001 - the seam between two slices

    def pausing(spool: Any) -> Iterator[Any]:
        for number, part in enumerate(slices(spool)):
            if number == 1:
                between_slices.set()
                assert repaired.wait(PATIENCE_SECONDS)
            yield part

    monkeypatch.setattr(large_uploads, "_slices", pausing)
    monkeypatch.setattr(large_uploads, "_SLICE", 1000)
    DERIVED["wrong-count"](api, place)
    with ThreadPoolExecutor(1) as pool:
        uploads: list[Future[Any]] = []

        def begin() -> None:
            uploads.append(pool.submit(upload, api, project_id, points(2500, label="a", first=1000)))
            assert between_slices.wait(PATIENCE_SECONDS)

        assert look_then_repair(place, begin) == ({"wrong-count"}, {"wrong-count"})
        repaired.set()
        assert uploads[0].result(PATIENCE_SECONDS).status_code == 200
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels"]["human"] == 2512
    assert check(place, "--repair")[0] == 0
    assert check(place) == (0, [])


@pytest.mark.parametrize("kind", DERIVED)
def test_a_project_that_is_deleted_before_the_repair_needs_none(
    api: Api, project_id: str, place: Place, *, kind: str
) -> None:
    DERIVED[kind](api, place)

    def delete_project() -> None:
        assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
        drain(api.runtime)

    assert look_then_repair(place, delete_project) == ({kind}, set())
    assert check(place) == (0, [])


def test_young_objects_are_left_alone(api: Api, project_id: str, place: Place) -> None:
    plant(place, f"models/{project_id}/new.skops")
    os.utime(place.folder / f"objects/models/{project_id}/new.skops")
    assert check(place) == (0, [])
    assert [finding["kind"] for finding in check(place, "--grace", "0")[1]] == ["orphan-object"]
    assert api.runtime.objects.exists(f"models/{project_id}/new.skops")


@pytest.mark.parametrize(("job_timeout", "hours"), [("60", 2.0), ("9000", 5.0)])
def test_objects_of_the_longest_job_are_young(
    project_id: str, place: Place, monkeypatch: pytest.MonkeyPatch, *, job_timeout: str, hours: float
) -> None:
    monkeypatch.setenv("GLEANER_JOB_TIMEOUT_SECONDS", job_timeout)
    name = f"models/{project_id}/new.skops"
    plant(place, name)
    for seconds, found in ((-60, []), (60, ["orphan-object"])):
        written = time.time() - 3600 * hours - seconds
        os.utime(place.folder / "objects" / name, (written, written))
        assert [finding["kind"] for finding in check(place)[1]] == found


@pytest.mark.parametrize("words", [["check"], ["backup", "to"]])
def test_without_a_database_nothing_can_be_told_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, words, env={"GLEANER_DATABASE_URL": "sqlite:///none.sqlite3"})
    assert result.exit_code > 0
    assert "There is no service: none.sqlite3 does not exist." in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_named_by_a_uri_is_looked_at(tmp_path: Path) -> None:
    place = {"GLEANER_DATA_DIR": str(tmp_path)}
    assert CliRunner().invoke(main, ["migrate"], env=place).exit_code == 0
    url = f"sqlite:///file:{tmp_path}/gleaner.sqlite3?mode=rw&uri=true"
    result = CliRunner().invoke(main, ["check"], env={**place, "GLEANER_DATABASE_URL": url})
    assert (result.exit_code, result.stdout) == (0, "Nothing is wrong.\n")


def test_without_a_service_nothing_can_be_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", "--data-dir", str(tmp_path / "none")])
    assert result.exit_code == 2


def test_uploaded_predictions_cannot_be_made_again(api: Api, project_id: str, place: Place) -> None:
    own_model(api, project_id, said(range(10)))
    for file in (place.folder / "objects/arrays").rglob("external/*.npy"):
        file.unlink()
    code, found = check(place, "--repair")
    assert (code, {(finding["kind"], finding["state"]) for finding in found}) == (1, {("missing-chunk", "lost")})
    assert "predictions" in found[0]["detail"]


def test_what_a_healthy_service_makes_is_no_orphan(service: Service, project_id: str) -> None:
    """Files that are made when they are wanted, and those of what was replaced, has failed or was cancelled."""
    api, objects = service.api, service.runtime.objects
    with service.runtime.database.read() as session:
        model = session.scalars(select(Model).where(Model.project_id == project_id)).one()
    objects.put_bytes(onnx_key(model.artifact_key, model.classes), b"made when it is wanted")
    for end in ("succeeded", "failed", "cancelled"):
        body = {"examples": [{"vector": [0.0, 1.0]}]}
        path = f"/v1/projects/{project_id}/models/1/predict"
        job_id = api.http.post(path, json=body, headers={"Prefer": "wait=0"}).json()["id"]
        (inputs,) = objects.list(f"inputs/{project_id}/")
        if end == "failed":
            objects.put_bytes(inputs, b"rubbish")
        if end == "cancelled":
            assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        drain(service.runtime)
        assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == end
        assert not objects.exists(inputs)
    table = tabular(api)
    for first in (0, 20):
        add_rows(api, table, 20 + 4 * first, first=first)
        train(api, table, 20, first=first)
    assert len([key for key in objects.list(f"models/{table}/") if "features" in key]) == 1
    assert check(service.place, "--grace", "0") == (0, [])
