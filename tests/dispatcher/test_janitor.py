"""What nobody needs any more goes, what somebody may need stays, and tables and objects agree all the while."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.actions import backups, batches, checks, deliveries, jobs, retention
from service.actions.checks import Finding
from service.actions.retention import Keep
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries.models import picked_rows
from service.db.tables import Delivery, Job, Lease
from service.db.types import new_id
from service.dispatcher import janitor
from service.dispatcher.janitor import forget_old
from service.errors import RemovedError
from service.settings import Settings
from tests.dispatcher.test_timers import run_task
from tests.observability.watching import Watched
from tests.support import programs
from tests.support.own_models import activate, own_model, predictions, said
from tests.support.places import quiet
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.working import drain

DAY = timedelta(days=1)
KEEP = {"keep_models": 1, "keep_models_days": 2, "keep_predictions_days": 2}
BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(make_runtime(tmp_path, database_url=database_url, **KEEP))
    with made.http:
        yield made
    made.runtime.database.close()


def forget(api: Api, days: float) -> dict[str, int]:
    """What a pass removes in so many days."""
    return {kind: count for kind, count in forget_old(api.runtime, now=utc_now() + days * DAY).items() if count}


def look(runtime: Runtime) -> list[Finding]:
    return checks.look(
        snapshot=runtime.database.snapshot, objects=runtime.objects, sealer=runtime.sealer, grace_seconds=-1
    )


def trained(api: Api, versions: int) -> str:
    """A project of 40 examples with so many versions."""
    project_id = api.project(retraining={"automatic": False}, estimator={"params": {"committee": 3}})
    add_examples(api, project_id, 40)
    for number in range(versions):
        train(api, project_id, 4 * number)
    return project_id


def train(api: Api, project_id: str, first: int) -> None:
    add_labels(api, project_id, range(first, first + 4))
    assert api.http.post(f"/v1/projects/{project_id}/trainings", json={}).status_code == 202
    drain(api.runtime)


def statuses(api: Api, path: str, versions: int, **body: Any) -> list[int]:
    """What is answered of each version."""
    method = "POST" if body else "GET"
    return [api.http.request(method, path.format(v), json=body or None).status_code for v in range(1, versions + 1)]


def shown(api: Api, path: str) -> Any:
    answer = api.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def removed_versions(api: Api, project_id: str) -> list[int]:
    items = shown(api, f"/v1/projects/{project_id}/models")["items"]
    return sorted(one["version"] for one in items if one["removed_at"])


@BOTH
def test_ended_jobs_go_and_what_their_batches_held_stays(api: Api) -> None:
    nothing = batch(api, api.project(), k=3)["job_id"]
    project_id = api.project(holdout_fraction=0.4, retraining={"automatic": False})
    add_examples(api, project_id, 40)
    made = batch(api, project_id, k=10, lease_seconds=0)
    base = f"/v1/projects/{project_id}"
    label = {"label": "a", "batch_id": made["job_id"]}
    rows = [{**label, "example_id": item["example_id"]} for item in made["items"]]
    assert api.http.post(f"{base}/labels", json={"labels": rows[1:]}).status_code == 200
    cancelled = ask(api, project_id, k=1)
    assert api.http.post(f"/v1/jobs/{cancelled}/cancel").status_code == 200
    waiting = ask(api, project_id, k=1)
    labels, picked = shown(api, f"{base}/labels"), of_tables(api, lambda session: picked_rows(session, project_id))
    assert set(picked.values()) == {True, False}
    read = of_tables(api, lambda session: session.get_one(Job, made["job_id"]))
    assert forget(api, 89) == {}
    assert forget(api, 91) == {"job": 2, "batch": 1}
    assert forget(api, 91) == {}
    assert shown(api, f"{base}/labels") == labels
    assert of_tables(api, lambda session: picked_rows(session, project_id)) == picked
    for gone in (nothing, cancelled):
        assert api.http.get(f"/v1/jobs/{gone}").status_code == 404
    assert [job["id"] for job in shown(api, f"{base}/jobs")["items"]] == [waiting, made["job_id"]]
    job = shown(api, f"/v1/jobs/{made['job_id']}")
    assert (job["state"], job["removed_at"] is None, "batch" in job["links"]) == ("succeeded", False, False)
    for method, path, body in (("GET", "", None), ("POST", "/renew", {"lease_seconds": 9}), ("POST", "/release", {})):
        answer = api.http.request(method, f"/v1/jobs/{made['job_id']}/batch{path}", json=body)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (410, "removed")
        assert "GLEANER_KEEP_JOBS_DAYS" in answer.json()["detail"]
    with pytest.raises(RemovedError):  # by who has read the job before
        of_tables(api, lambda session: batches.batch_of(session, read))
    assert api.http.post(f"{base}/labels", json={"labels": rows[:1]}).json()["created"] == 1  # late, and taken
    assert look(api.runtime) == []


def of_tables(api: Api, read: Callable[[Session], Any]) -> Any:
    with api.runtime.database.read() as session:
        return read(session)


@BOTH
def test_batches_that_somebody_still_uses_stay(api: Api) -> None:
    project_id, _ = programs.project_with_program(api)
    programs.next_parcel(api)
    leased = batch(api, project_id, k=2, annotator="alice")["job_id"]
    for _ in range(2):
        api.http.get(f"/v1/projects/{project_id}/next?annotator=bob")
        drain(api.runtime)
    with api.runtime.database.write() as session:
        session.execute(delete(Lease).where(Lease.job_id != leased))
        session.execute(update(Lease).values(expires_at=utc_now() + 200 * DAY))
        queries = session.scalars(select(Job.id).where(Job.kind == "query", Job.state == "succeeded")).all()
    assert len(queries) == 3
    assert "batch" not in forget(api, 100)
    for job_id in queries:
        shown(api, f"/v1/jobs/{job_id}/batch")
    shown(api, f"/v1/projects/{project_id}/next?annotator=bob")


@BOTH
def test_files_of_superseded_models_go_and_the_curve_stays(api: Api) -> None:
    project_id = trained(api, 4)
    base = f"/v1/projects/{project_id}"
    activate(api, project_id, 1)
    curve = shown(api, f"{base}/progress")["curve"]
    assert forget(api, 1) == {}
    assert forget(api, 3) == {"model": 2}
    assert forget(api, 3) == {}
    assert removed_versions(api, project_id) == [2, 3]
    rows = [{"vector": [0.0, 1.0]}]
    assert statuses(api, base + "/models/{}/artifact", 4) == [200, 410, 410, 200]
    assert api.http.post(f"{base}/models/2/predict", json={"examples": rows}).status_code == 410
    assert statuses(api, base + "/models/{}/activate", 4, pin=False) == [200, 410, 410, 200]
    card = shown(api, f"{base}/models/2/card")
    assert {(one["available"], "GLEANER_KEEP_MODELS" in one["reason"]) for one in card["formats"]} == {(False, True)}
    assert shown(api, f"{base}/progress")["curve"] == curve
    drain(api.runtime)
    assert batch(api, project_id, k=3, strategy="bald")["model"]["version"] == 4
    assert len(list(api.runtime.objects.list(f"models/{project_id}/"))) == 4  # with their committees
    assert look(api.runtime) == []
    assert forget(api, 1) == {}  # version 1 has served just now
    assert forget(api, 3) == {"model": 1}


def test_the_training_of_a_model_that_can_serve_stays(api: Api) -> None:
    """It says since when changed examples are none of those that the model learnt."""
    project_id = trained(api, 2)
    models = sorted(shown(api, f"/v1/projects/{project_id}/models")["items"], key=lambda one: one["version"])
    old, serving = (f"/v1/jobs/{one['job_id']}" for one in models)
    assert forget(api, 91)["model"] == 1
    assert [api.http.get(path).status_code for path in (old, serving)] == [200, 200]
    assert forget(api, 91) == {"job": 1}
    assert [api.http.get(path).status_code for path in (old, serving)] == [404, 200]


def test_a_file_that_a_job_reads_or_will_read_stays(api: Api) -> None:
    project_id = trained(api, 1)
    reading = ask(api, project_id, k=3, strategy="margin")
    with api.runtime.database.write() as session:
        assert jobs.claim(session, reading, lease=DAY, now=utc_now()) is not None
    train(api, project_id, 4)
    assert forget(api, 3) == {}
    assert api.http.post(f"/v1/jobs/{reading}/cancel").status_code == 200
    body = {"examples": [{"vector": [0.0, 1.0]}]}
    path = f"/v1/projects/{project_id}/models/1/predict"
    asked = api.http.post(path, json=body, headers={"Prefer": "wait=0"}).json()["id"]
    assert forget(api, 3) == {}
    drain(api.runtime)
    assert shown(api, f"/v1/jobs/{asked}")["state"] == "succeeded"
    late = api.http.post(path, json=body, headers={"Prefer": "wait=0"}).json()["id"]
    with api.runtime.database.write() as session:  # as it is while the request that asked is not committed yet
        session.execute(update(Job).where(Job.id == late).values(kind="merge"))
    assert forget(api, 3) == {"model": 1}
    with api.runtime.database.write() as session:
        session.execute(update(Job).where(Job.id == late).values(kind="predict"))
    drain(api.runtime)
    assert shown(api, f"/v1/jobs/{late}")["error"]["type"].endswith("/problems/removed")


@BOTH
def test_uploaded_predictions_go_when_they_serve_no_more(api: Api) -> None:
    project_id = trained(api, 1)
    assert own_model(api, project_id, said(range(40))) == 2
    assert predictions(api, project_id, said(range(9))).json()["model_version"] == 3  # open: others may follow
    drain(api.runtime)
    assert forget(api, 3) == {}
    activate(api, project_id, 1)
    assert forget(api, 1) == {}
    assert forget(api, 3) == {"predictions": 1}
    assert (removed_versions(api, project_id), forget(api, 3)) == ([2], {})
    assert statuses(api, f"/v1/projects/{project_id}/models/{{}}/activate", 3, pin=True) == [200, 410, 200]
    kept = [key for key in api.runtime.objects.list(f"arrays/{project_id}/") if "external" in key]
    assert len(kept) == 2  # of version 3: what is said of which rows
    assert look(api.runtime) == []


@pytest.mark.parametrize("own", [False, True])
def test_who_is_killed_leaves_objects_that_check_removes(api: Api, *, own: bool) -> None:
    project_id = trained(api, 2)
    if own:
        own_model(api, project_id, said(range(40)))
        activate(api, project_id, 2)
        drain(api.runtime)
    keep, now = Keep.of(api.runtime.settings), utc_now() + 3 * DAY
    with api.runtime.database.write() as session:  # and nothing of what follows a commit
        removed = retention.forget_of_project(session, project_id, keep, now=now)
    assert removed == {"model": 1, "predictions": int(own)}
    found = look(api.runtime)
    assert {finding.kind for finding in found} == {"orphan-object"}
    assert checks.repair(found, write=api.runtime.write) == []
    assert look(api.runtime) == []
    assert forget(api, 3) == {}


def test_a_project_that_is_deleted_meanwhile_is_left_to_its_job(api: Api) -> None:
    project_id = trained(api, 2)
    keep, now = Keep.of(api.runtime.settings), utc_now() + 3 * DAY
    assert of_tables(api, lambda session: retention.projects_with_old(session, keep, now=now)) == [project_id]
    assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
    assert forget(api, 3) == {}
    with api.runtime.write() as session:
        assert retention.forget_of_project(session, project_id, keep, now=now) == {}


def test_what_went_is_logged_and_counted(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "_AT_ONCE", 2)
    add_deliveries(api, 3)
    run_task(api.runtime, "forget_old")  # 30 days are over
    trained(api, 3)
    forget(api, 3)
    told = "".join(capsys.readouterr())
    assert ('"delivery": 3' in told, '"model": 2' in told) == (True, True)
    counted = Watched(api.runtime).text()
    for what, count in (("delivery", 3), ("model", 2), ("batch", 0)):
        assert f'gleaner_removed_total{{what="{what}"}} {count}.0' in counted


def add_deliveries(api: Api, count: int) -> None:
    """Deliveries that ended 31 days ago, and one that is held."""
    wanted = {"url": "https://93.184.215.14/", "events": ["query.failed"]}
    hook = api.http.post("/v1/webhooks", json=wanted).json()["id"]
    then = utc_now() - 31 * DAY
    with api.runtime.database.write() as session:
        for number in range(count + 1):
            state, finished = ("pending", None) if number == count else ("failed", then)
            told = {"event": "query.failed", "body": "", "attempt": 1, "next_attempt_at": None, "created_at": then}
            session.add(
                Delivery(id=new_id("dlv"), webhook_id=hook, sequence=number, state=state, finished_at=finished, **told)
            )


def test_nothing_goes_where_all_is_kept(tmp_path: Path) -> None:
    for_ever: dict[str, Any] = {name: 0 for name in Settings.model_fields if name.startswith("keep_")}
    settings = Settings(data_dir=tmp_path, **for_ever)
    keep = Keep.of(settings)
    assert (keep.jobs, keep.deliveries, keep.models, keep.predictions) == (None, None, None, None)
    assert Keep.of(settings.model_copy(update={"keep_models_days": 5})).models is None
    runtime = make_runtime(tmp_path, **for_ever)
    api = make_api(runtime)
    trained(api, 2)
    assert forget(api, 36_500) == {}
    runtime.database.close()


def test_jobs_are_kept_while_an_answer_that_names_them_can_be_replayed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, keep_jobs_days=1, idempotency_hours=72)
    assert Keep.of(settings).jobs == 3 * DAY


def test_what_was_delivered_outlives_the_attempts_of_others() -> None:
    """It tells whether a receiver whose delivery was given up takes anything."""
    longest = sum((max(deliveries.LONGEST_RETRY_AFTER, 1.1 * pause) for pause in deliveries.RETRIES), timedelta())
    for days in range(1, 10):
        with pytest.raises(ValueError, match="at least 10"):
            Settings(keep_deliveries_days=days)
    assert longest < Settings(keep_deliveries_days=10).keep_deliveries_days * DAY


class History:
    """A project with which much happens, and what must hold of it whatever is removed meanwhile."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api, self.rng = api, random.Random(seed)  # noqa: S311 - no secret
        self.project_id = trained(api, 1)
        self.base = f"/v1/projects/{self.project_id}"
        self.next = 4

    def train(self) -> None:
        train(self.api, self.project_id, self.next % 40)
        self.next += 4

    def upload(self) -> None:
        first = self.rng.randrange(20)
        assert predictions(self.api, self.project_id, said(range(first, first + 20))).status_code == 200

    def activate(self) -> None:
        versions = shown(self.api, f"{self.base}/models")["items"]
        chosen = self.rng.choice([one for one in versions if not one["removed_at"]])
        activate(self.api, self.project_id, chosen["version"], pin=self.rng.random() < 0.5)

    def ask(self) -> None:
        ask(self.api, self.project_id, k=3, strategy=self.rng.choice(["margin", "random"]), lease_seconds=3600)
        if self.rng.random() < 0.7:
            drain(self.api.runtime)

    def take(self) -> None:
        assert self.api.http.get(f"{self.base}/next?annotator=ann").status_code in {200, 202, 204, 409}

    def predict(self) -> None:
        version, body = self.rng.randint(1, 4), {"examples": [{"vector": [0.0, 1.0]}]}
        self.api.http.post(f"{self.base}/models/{version}/predict", json=body, headers={"Prefer": "wait=0"})

    def forget(self) -> None:
        labels, curve = shown(self.api, f"{self.base}/labels"), shown(self.api, f"{self.base}/progress")["curve"]
        forget(self.api, self.rng.choice([1, 3, 100]))
        assert shown(self.api, f"{self.base}/labels") == labels
        assert shown(self.api, f"{self.base}/progress")["curve"] == curve


@pytest.mark.parametrize("seed", [0, 2])
def test_whatever_happened_nothing_is_missing_and_the_rest_goes_on(api: Api, tmp_path: Path, seed: int) -> None:
    history = History(api, seed)
    acts = [history.train, history.upload, history.activate, history.ask, history.take, history.predict, history.forget]
    for _ in range(30):
        history.rng.choice(acts)()
        if history.rng.random() < 0.3:
            drain(api.runtime)
    history.forget()
    drain(api.runtime)
    with api.runtime.database.read() as session:
        assert session.scalars(select(Job.error).where(Job.state == "failed")).all() == []
    assert batch(api, history.project_id, k=2, strategy="margin", lease_seconds=0)["items"]
    assert look(api.runtime) == []
    stores: dict[str, Any] = {"snapshot": api.runtime.database.snapshot, "objects": api.runtime.objects}
    backups.back_up(tmp_path / "backup", derived=True, now=utc_now(), tell=quiet, **stores)
