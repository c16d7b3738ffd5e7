"""Whoever needs several locks takes them in one order, so that PostgreSQL never has to end a deadlock."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import event, text

from service.actions import deliveries, jobs, program_answers
from service.actions.checks import look, repair
from service.actions.deliveries import Outcome, Parcel
from service.api.deps.runtime import utc_now
from service.catalog.events import REQUEST
from service.db.queries import projects as project_queries
from service.db.queries import webhooks as webhook_queries
from service.db.session import Database
from service.dispatcher.janitor import forget_old
from service.dispatcher.timers import tasks
from service.queue.memory import MemoryQueue
from service.queue.messages import Ring
from tests.support import programs
from tests.support.pools import add_examples
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.working import run_job

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
SECONDS = 6.0
LONGEST_SECONDS = 180.0  # until each act has had an effect
EXAMPLES = 40
_JOBS = 30
_KEEP: dict[str, Any] = {"keep_models": 1, "keep_predictions_days": 1}
_PAUSE_SECONDS = 0.004  # at most, between a lock and the next: others come in between
_REST_SECONDS = 0.2
_LOCKS = ("INSERT", "UPDATE", "DELETE")
_EXPECTED = {200, 201, 202, 204, 404, 409, 410, 412, 422, 429}


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    """A service that gives a job up at once, on a server that looks for deadlocks early."""
    database = Database(database_url)
    with database.write() as session:
        name = database.engine.url.database
        session.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'"))
    database.close()
    runtime = make_runtime(tmp_path, database_url=database_url, job_max_attempts=1, max_jobs_per_project=_JOBS, **_KEEP)
    made = make_api(runtime)
    with made.http:
        yield made
    runtime.database.close()


@dataclass
class Crowd:
    """What many do at once to two projects, which share some webhooks."""

    api: Api
    projects: list[str]
    hooks: list[str]

    def __post_init__(self) -> None:
        self.batches: list[str] = []
        self.timers = [task for task in tasks(self.api.runtime) if not task.name.startswith("refresh")]

    def post(self, rng: random.Random, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        """What is answered; nothing when it is refused."""
        answer = self.api.http.request(
            method, path.format(p=rng.choice(self.projects)), json=body, headers={"If-Match": "*"}
        )
        assert answer.status_code in _EXPECTED, answer.text
        if not answer.is_success:
            return None
        return answer.json() if answer.content else {}

    def label(self, rng: random.Random) -> bool:
        rows = [{"example_id": f"e{n}", "label": rng.choice("ab")} for n in rng.sample(range(EXAMPLES), 4)]
        return self.post(rng, "/v1/projects/{p}/labels?mode=partial", {"labels": rows}) is not None

    def unlabel(self, rng: random.Random) -> bool:
        base = f"/v1/projects/{rng.choice(self.projects)}/labels"
        found = self.post(rng, f"{base}?page_size=3", method="GET")["items"]
        gone = [self.post(rng, f"{base}/{one['id']}", method="DELETE") for one in found]
        return any(one is not None for one in gone)

    def upload(self, rng: random.Random) -> bool:
        rows = [{"id": f"e{n}", "vector": [rng.random(), 1.0]} for n in rng.sample(range(EXAMPLES), 6)]
        rows[0]["label"] = rng.choice("ab")
        return self.post(rng, "/v1/projects/{p}/examples", {"examples": rows}) is not None

    def delete(self, rng: random.Random) -> bool:
        return self.post(rng, f"/v1/projects/{{p}}/examples/e{rng.randrange(EXAMPLES)}", method="DELETE") is not None

    def predict(self, rng: random.Random) -> bool:
        rows = [{"id": f"e{n}", "probabilities": [0.5, 0.5]} for n in rng.sample(range(EXAMPLES), 6)]
        told = self.post(rng, "/v1/projects/{p}/predictions?model=mine&mode=partial", {"predictions": rows})
        return told is not None and told["rejected"] < len(rows)

    def activate(self, rng: random.Random) -> bool:
        how = {"pin": rng.random() < 0.3}
        return self.post(rng, f"/v1/projects/{{p}}/models/{rng.randint(1, 3)}/activate", how) is not None

    def rename(self, rng: random.Random) -> bool:
        time.sleep(rng.random())  # a ranking goes with each, and is to be given from before
        body = {"rename_classes": {"a": "b", "b": "a"}}
        return self.post(rng, "/v1/projects/{p}", body, method="PATCH") is not None

    def take(self, rng: random.Random) -> bool:
        """An example, or the job of the ranking that it will come from: both are written behind the pool's lock."""
        path = f"/v1/projects/{{p}}/next?annotator=ann{rng.randrange(20)}"
        return not {"example_id", "kind"}.isdisjoint(self.post(rng, path, method="GET") or {})

    def repair(self, rng: random.Random) -> bool:
        """Count wrongly, and let it be put right."""
        database = self.api.runtime.database
        with database.write() as session:
            project_queries.lock_pool(session, rng.choice(self.projects)).labels_human += 1
            session.flush()
        held = self.api.runtime
        found = look(snapshot=database.snapshot, objects=held.objects, sealer=held.sealer, grace_seconds=60)
        return len(repair(found, write=database.write)) < len(found)

    def ask(self, rng: random.Random) -> bool:
        body = {"k": 5, "strategy": "random", "lease_seconds": rng.choice([1, 5])}
        found = self.post(rng, "/v1/projects/{p}/queries", body)
        if found is not None:
            self.batches = [*self.batches[-_JOBS:], found["id"]]
        return found is not None

    def end_leases(self, rng: random.Random) -> bool:
        done = False
        batches = self.batches  # the newest ones still wait for those that were asked for before
        for job_id in rng.sample(batches, min(len(batches), 10)):
            how = rng.choice(["release", "renew"])
            body = {"lease_seconds": 1} if how == "renew" else {}
            done |= self.post(rng, f"/v1/jobs/{job_id}/batch/{how}", body) is not None
        return done

    def train(self, rng: random.Random) -> bool:
        return self.post(rng, "/v1/projects/{p}/trainings", {}) is not None

    def cancel(self, rng: random.Random) -> bool:
        found = self.post(rng, "/v1/projects/{p}/jobs?page_size=5", method="GET")["items"]
        some = [job for job in found if rng.random() < 0.1]  # the others have to end well now and then
        ended = [self.post(rng, f"/v1/jobs/{job['id']}/cancel") for job in some]
        return any(job is not None for job in ended)

    def change(self, rng: random.Random) -> bool:
        retraining = {"first_at": 2, "every": rng.randint(2, 9), "idle_seconds": 1}
        annotation = {"overlap": rng.choice([1, 2]), "automatic": rng.random() < 0.8}
        changes = {"annotation": annotation, "retraining": retraining, "paused": rng.random() < 0.2}
        return self.post(rng, "/v1/projects/{p}", changes, method="PATCH") is not None

    def switch(self, rng: random.Random) -> bool:
        hook = rng.choice(self.hooks)
        self.post(rng, f"/v1/webhooks/{hook}", {"enabled": rng.random() < 0.9}, method="PATCH")
        return self.post(rng, f"/v1/webhooks/{hook}/test") is not None

    def send(self, rng: random.Random) -> bool:
        database, now = self.api.runtime.database, utc_now()
        with database.write() as session:
            lease = timedelta(seconds=1)
            parcels = deliveries.claim(session, busy={}, per_endpoint=3, limit=20, lease=lease, now=now)
        if rng.random() < 0.2:
            with database.write() as session:
                deliveries.give_back(session, parcels, now=now)
            return bool(parcels)
        for parcel in parcels:
            with database.write() as session:
                outcome = Outcome(at=now, duration_ms=1, status=rng.choice([200, 500, 410]), body=answer_to(parcel))
                if parcel.event == REQUEST:
                    program_answers.record(session, parcel, outcome, now=now, share=16)
                else:
                    deliveries.record(session, parcel, outcome, now=now)
        return bool(parcels)

    def steer(self, rng: random.Random) -> bool:
        """Let a program go on, or stop it."""
        base = f"/v1/projects/{rng.choice(self.projects)}/annotators"
        for program in self.post(rng, base, method="GET")["items"]:
            changes = {"state": rng.choice(["active", "active", "stopped"]), "max_labels": rng.randint(1, 1000)}
            if rng.random() < 0.5:
                changes["url"] = f"{programs.URL}/{rng.randrange(9)}"
            self.post(rng, f"{base}/{program['id']}", changes, method="PATCH")
        return True

    def work(self, rng: random.Random) -> bool:
        ring = self.taken()
        if ring is not None and rng.random() < 0.6:
            run_job(self.api.runtime, ring.job_id)
        elif ring is not None:
            with self.api.runtime.database.write() as session:  # a worker that is killed
                jobs.claim(session, ring.job_id, lease=-timedelta(seconds=1), now=utc_now())
        return ring is not None

    def taken(self) -> Ring | None:
        assert isinstance(self.api.runtime.queue, MemoryQueue)
        return self.api.runtime.queue.take()

    def tick(self, rng: random.Random) -> bool:
        for task in rng.sample(self.timers, len(self.timers)):
            task.run(self.api.runtime)
        return True

    def forget(self, _rng: random.Random) -> bool:
        """Remove what has ended, as if it were long ago."""
        return forget_old(self.api.runtime, now=utc_now() + timedelta(days=100)).total() > 0

    def come_and_go(self, rng: random.Random) -> bool:
        project_id = made(self.api)
        hook = subscribe(self.api, project_id)
        self.post(rng, f"/v1/webhooks/{hook}/test")
        self.post(rng, f"/v1/projects/{project_id}/queries", {"k": 2})
        return self.post(rng, f"/v1/projects/{project_id}", method="DELETE") is not None


def answer_to(parcel: Parcel) -> bytes:
    """Labels of what a program is asked about."""
    items = orjson.loads(parcel.body)["data"].get("batch", {}).get("items", [])
    return orjson.dumps({"labels": [{"example_id": item["example_id"], "label": "a"} for item in items]})


def made(api: Api) -> str:
    project_id = api.project(annotation={"automatic": True}, retraining={"first_at": 2, "every": 3, "idle_seconds": 1})
    add_examples(api, project_id, EXAMPLES)
    programs.create(api, project_id)
    return project_id


def subscribe(api: Api, project_id: str | None) -> str:
    names = ["training.succeeded", "training.failed", "query.succeeded", "query.failed", "webhook.disabled"]
    names.append("annotator.stopped")
    body = {"url": "https://example.com/hook", "events": names, "project_id": project_id}
    answer = api.http.post("/v1/webhooks", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 201, answer.text
    hook: str = answer.json()["id"]
    return hook


def count_deadlocks(database: Database) -> list[BaseException]:
    """Let transactions pause between their locks; the deadlocks that follow."""
    found: list[BaseException] = []
    rng = random.Random(0)  # noqa: S311  # no secret

    def pause(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith(_LOCKS) or "FOR UPDATE" in statement:
            time.sleep(rng.uniform(0, _PAUSE_SECONDS))

    def note(context: Any) -> None:
        if isinstance(context.original_exception, psycopg.errors.DeadlockDetected):
            found.append(context.original_exception)

    event.listen(database.engine, "after_cursor_execute", pause)
    event.listen(database.engine, "handle_error", note)
    return found


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_program_is_stopped_while_its_batch_is_given_back(api: Api, method: str) -> None:
    project_id, program = programs.project_with_program(api)
    parcel = programs.next_parcel(api)
    body = {"state": "stopped", "url": f"{programs.URL}/2"} if method == "PATCH" else None
    database, now = api.runtime.database, utc_now()
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            webhook_queries.lock(session, {parcel.webhook_id})
            stopping = pool.submit(api.http.request, method, programs.path_of(program), json=body)
            wait_for_a_waiter(database)
            deliveries.give_back(session, [parcel], now=now)
        assert stopping.result().is_success
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 0


def wait_for_a_waiter(database: Database) -> None:
    """Until a transaction waits for a lock that another one has."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    count = 0
    while not count:
        with database.read() as session:
            count = session.execute(text(waiting)).scalar_one()


def test_many_at_once_meet_no_deadlock(api: Api) -> None:
    projects = [made(api), made(api)]
    hooks = [subscribe(api, owner) for owner in (None, *projects, None, *projects)]
    crowd = Crowd(api, projects, hooks)
    deadlocks = count_deadlocks(api.runtime.database)
    acts: list[Callable[[random.Random], bool]] = [
        crowd.label,
        crowd.label,
        crowd.unlabel,
        crowd.upload,
        crowd.delete,
        crowd.predict,
        crowd.activate,
        crowd.rename,
        crowd.take,
        crowd.repair,
        crowd.ask,
        crowd.end_leases,
        crowd.train,
        crowd.cancel,
        crowd.change,
        crowd.switch,
        crowd.send,
        crowd.send,
        crowd.steer,
        crowd.work,
        crowd.work,
        crowd.work,
        crowd.tick,
        crowd.tick,
        crowd.forget,
        crowd.come_and_go,
    ]
    begun, done = time.monotonic(), [0] * len(acts)

    def go_on(number: int) -> None:
        rng = random.Random(number)  # noqa: S311  # no secret
        while (took := time.monotonic() - begun) < SECONDS or (took < LONGEST_SECONDS and 0 in done):
            done[number] += acts[number](rng)
            # who finds nothing to do leaves the processor to others, and in the end to those who have done nothing yet
            time.sleep(_REST_SECONDS if took > SECONDS and done[number] else _PAUSE_SECONDS)

    with ThreadPoolExecutor(len(acts)) as pool:
        list(pool.map(go_on, range(len(acts))))
    assert [str(deadlock) for deadlock in deadlocks] == []
    assert [act.__name__ for act, effects in zip(acts, done, strict=True) if not effects] == []
