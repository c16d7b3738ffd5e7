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
from service.actions.deliveries import Outcome, Parcel
from service.api.deps.runtime import utc_now
from service.catalog.events import REQUEST
from service.db.session import Database
from service.dispatcher.timers import tasks
from service.queue.memory import MemoryQueue
from service.queue.messages import Ring
from tests.support import programs
from tests.support.pools import add_examples
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.working import run_job

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
SECONDS = 6.0
EXAMPLES = 40
_PAUSE_SECONDS = 0.004  # at most, between a lock and the next: others come in between
_LOCKS = ("INSERT", "UPDATE", "DELETE")
_EXPECTED = {200, 201, 202, 204, 404, 409, 412, 422, 429}


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    """A service that gives a job up at once, on a server that looks for deadlocks early."""
    database = Database(database_url)
    with database.write() as session:
        name = database.engine.url.database
        session.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'"))
    database.close()
    runtime = make_runtime(tmp_path, database_url=database_url, job_max_attempts=1, max_jobs_per_project=30)
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
        answer = self.api.http.request(
            method, path.format(p=rng.choice(self.projects)), json=body, headers={"If-Match": "*"}
        )
        assert answer.status_code in _EXPECTED, answer.text
        return answer.json() if answer.content else {}

    def label(self, rng: random.Random) -> None:
        rows = [{"example_id": f"e{n}", "label": rng.choice("ab")} for n in rng.sample(range(EXAMPLES), 4)]
        self.post(rng, "/v1/projects/{p}/labels", {"labels": rows})

    def ask(self, rng: random.Random) -> None:
        found = self.post(rng, "/v1/projects/{p}/queries", {"k": 5, "strategy": "random", "lease_seconds": 1})
        self.batches = [*self.batches[-10:], found.get("id", "job_none")]

    def end_leases(self, rng: random.Random) -> None:
        for job_id in self.batches[:]:
            how = rng.choice(["release", "renew"])
            self.post(rng, f"/v1/jobs/{job_id}/batch/{how}", {"lease_seconds": 1} if how == "renew" else {})

    def train(self, rng: random.Random) -> None:
        self.post(rng, "/v1/projects/{p}/trainings", {})

    def cancel(self, rng: random.Random) -> None:
        found = self.post(rng, "/v1/projects/{p}/jobs?page_size=5", method="GET")
        for job in found["items"]:
            self.post(rng, f"/v1/jobs/{job['id']}/cancel")

    def change(self, rng: random.Random) -> None:
        retraining = {"first_at": 2, "every": rng.randint(2, 9), "idle_seconds": 1}
        annotation = {"overlap": rng.choice([1, 2]), "automatic": rng.random() < 0.8}
        changes = {"annotation": annotation, "retraining": retraining, "paused": rng.random() < 0.2}
        self.post(rng, "/v1/projects/{p}", changes, method="PATCH")

    def switch(self, rng: random.Random) -> None:
        hook = rng.choice(self.hooks)
        self.post(rng, f"/v1/webhooks/{hook}", {"enabled": rng.random() < 0.9}, method="PATCH")
        self.post(rng, f"/v1/webhooks/{hook}/test")

    def send(self, rng: random.Random) -> None:
        database, now = self.api.runtime.database, utc_now()
        with database.write() as session:
            lease = timedelta(seconds=1)
            parcels = deliveries.claim(session, busy={}, per_endpoint=3, limit=20, lease=lease, now=now)
        if rng.random() < 0.2:
            with database.write() as session:
                deliveries.give_back(session, parcels, now=now)
            return
        for parcel in parcels:
            with database.write() as session:
                outcome = Outcome(at=now, duration_ms=1, status=rng.choice([200, 500, 410]), body=answer_to(parcel))
                if parcel.event == REQUEST:
                    program_answers.record(session, parcel, outcome, now=now, share=16)
                else:
                    deliveries.record(session, parcel, outcome, now=now)

    def steer(self, rng: random.Random) -> None:
        """Let a program go on, or stop it."""
        base = f"/v1/projects/{rng.choice(self.projects)}/annotators"
        for program in self.post(rng, base, method="GET")["items"]:
            changes = {"state": rng.choice(["active", "active", "stopped"]), "max_labels": rng.randint(1, 1000)}
            self.post(rng, f"{base}/{program['id']}", changes, method="PATCH")

    def work(self, rng: random.Random) -> None:
        ring = self.taken()
        if ring is not None and rng.random() < 0.6:
            run_job(self.api.runtime, ring.job_id)
        elif ring is not None:
            with self.api.runtime.database.write() as session:  # a worker that is killed
                jobs.claim(session, ring.job_id, lease=-timedelta(seconds=1), now=utc_now())

    def taken(self) -> Ring | None:
        assert isinstance(self.api.runtime.queue, MemoryQueue)
        return self.api.runtime.queue.take()

    def tick(self, rng: random.Random) -> None:
        for task in rng.sample(self.timers, len(self.timers)):
            task.run(self.api.runtime)

    def come_and_go(self, rng: random.Random) -> None:
        project_id = made(self.api)
        hook = subscribe(self.api, project_id)
        self.post(rng, f"/v1/webhooks/{hook}/test")
        self.post(rng, f"/v1/projects/{project_id}/queries", {"k": 2})
        self.post(rng, f"/v1/projects/{project_id}", method="DELETE")


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


def test_many_at_once_meet_no_deadlock(api: Api) -> None:
    projects = [made(api), made(api)]
    hooks = [subscribe(api, owner) for owner in (None, *projects, None, *projects)]
    crowd = Crowd(api, projects, hooks)
    deadlocks = count_deadlocks(api.runtime.database)
    acts: list[Callable[[random.Random], None]] = [
        crowd.label,
        crowd.label,
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
        crowd.come_and_go,
    ]
    until = time.monotonic() + SECONDS

    def go_on(number: int) -> int:
        rng, done = random.Random(number), 0  # noqa: S311  # no secret
        while time.monotonic() < until:
            acts[number](rng)
            done += 1
            time.sleep(_PAUSE_SECONDS)  # who finds nothing to do leaves the processor to others
        return done

    with ThreadPoolExecutor(len(acts)) as pool:
        done = list(pool.map(go_on, range(len(acts))))
    assert [str(deadlock) for deadlock in deadlocks] == []
    assert min(done) > 0
