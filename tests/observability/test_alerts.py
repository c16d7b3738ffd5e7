"""Each alert is quiet in a healthy service, and fires when its fault is there."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from redis import Redis
from rq import Worker
from sqlalchemy import text, update

from service.actions import leaders, trainings
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import jobs as job_queries
from service.db.queries.projects import lock_pool
from service.db.tables import Delivery, Job, Leader, Pool
from service.queue.messages import QUEUES, timeouts
from service.queue.redis import RedisQueue
from tests.dispatcher.receivers import attempted, receiver, run, send_tests, sending, subscribe, until
from tests.observability.watching import Watched
from tests.support.redis_server import PATIENCE_SECONDS, RedisServer, running_redis
from tests.support.runtime import make_runtime

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
_GROUP = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]
RULES = {rule["alert"]: rule["expr"] for rule in _GROUP["rules"]}
HOUR = timedelta(hours=1)
_METRIC = re.compile(r"\bgleaner_\w+")


@dataclass
class Service:
    """A healthy service: an API, a queue with a worker, a dispatcher that leads, a project."""

    watched: Watched
    redis: RedisServer
    worker: Worker
    project_id: str
    patch: pytest.MonkeyPatch

    @property
    def runtime(self) -> Runtime:
        return self.watched.runtime

    def post(self, what: str, body: dict[str, Any]) -> int:
        return self.watched.api.http.post(f"/v1/projects/{self.project_id}/{what}", json=body).status_code

    def label(self, n: int) -> int:
        return self.post("labels", {"labels": [{"example_id": f"e{n}", "label": "ab"[n % 2]}]})

    def change(self, table: Any, **values: Any) -> None:
        with self.runtime.database.write() as session:
            session.execute(update(table).values(**values))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def runtime(tmp_path: Path, database_url: str) -> Iterator[Runtime]:
    settings = {"webhook_allow": "127.0.0.0/8", "dispatcher_tick_seconds": 0.02}
    made = make_runtime(tmp_path, database_url=database_url, **settings)
    yield made
    made.database.close()


@pytest.fixture
def service(runtime: Runtime, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Redis.from_url(redis.url) as connection:
        worker = Worker(list(QUEUES), connection=connection)
        worker.register_birth()  # type: ignore[no-untyped-call]  # of RQ
        queue = RedisQueue(redis.url, timeouts=timeouts(runtime.settings))
        found = Watched(replace(runtime, queue=queue))
        with runtime.database.write() as session:
            assert leaders.lead(session, "dispatcher", holder="test", until=utc_now() + HOUR, now=utc_now())
        made = Service(found, redis, worker, found.api.project(), monkeypatch)
        examples = [{"id": f"e{n}", "vector": [n, 1.0]} for n in range(20)]
        assert made.post("examples", {"examples": examples}) == 200
        assert made.label(0) == 200
        yield made
        queue.close()


class Faults(NamedTuple):
    """What goes wrong, in two steps with a scrape between them: what is counted has to grow."""

    first: Callable[[Service], None]
    then: Callable[[Service], None] = lambda _: None


def _twice(fault: Callable[[Service], None]) -> Faults:
    return Faults(fault, fault)


def _lose_the_labels(service: Service) -> None:
    with service.runtime.database.write() as session:
        session.execute(text("ALTER TABLE labels RENAME TO labels_lost"))
    _fail_to_label(service)


def _fail_to_label(service: Service) -> None:
    assert service.label(1) >= 500


def _label_slowly(service: Service) -> None:
    """Somebody else holds the pool for longer than a second of the request."""
    held, asked = threading.Event(), threading.Event()

    def hold() -> None:
        with service.runtime.database.write() as session:
            lock_pool(session, service.project_id)
            held.set()
            assert asked.wait(PATIENCE_SECONDS)
            threading.Event().wait(2.0)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE_SECONDS)
    asked.set()
    assert service.label(1) == 200
    thread.join()


def _ask_nobody(service: Service) -> None:
    assert service.post("queries", {"k": 1}) == 202
    with service.runtime.database.write() as session:
        session.execute(text("DELETE FROM outbox"))  # rung, and lost
    service.change(Job, created_at=utc_now() - HOUR)


def _train_nobody(service: Service) -> None:
    assert service.post("trainings", {}) == 202
    with service.runtime.database.write() as session:
        session.execute(text("DELETE FROM outbox"))
    service.change(Job, created_at=utc_now() - HOUR)


def _end_worker(service: Service) -> None:
    service.worker.connection.pexpire(service.worker.key, 1)  # as its mark does when it is killed
    threading.Event().wait(0.05)


def _stop_redis(service: Service) -> None:
    service.redis.stop()


def _let_the_lead_run_out(service: Service) -> None:
    service.change(Leader, until=utc_now() - HOUR)


def _fail_a_training(service: Service) -> None:
    assert service.post("trainings", {}) == 202
    with service.runtime.database.write() as session:
        (waiting,) = (job for job in job_queries.trainings(session, service.project_id) if job.state == "queued")
        session.execute(text("DELETE FROM outbox"))
        job = job_queries.claim(session, waiting.id, token="t", lease_until=utc_now() + HOUR, now=utc_now())  # noqa: S106
        assert job is not None
        trainings.fail(session, job, now=utc_now(), share=1, error={"name": "internal", "detail": "Broken."})


def _refuse_deliveries(service: Service) -> None:
    async def scenario() -> None:
        async with receiver("500 Broken") as to, sending(service.runtime):
            webhook_id, _ = subscribe(service.runtime, to.url, project_id=service.project_id)
            send_tests(service.runtime, webhook_id)
            await until(attempted(service.runtime, webhook_id, 1))

    run(scenario)


def _send_nothing(service: Service) -> None:
    webhook_id, _ = subscribe(service.runtime, "http://127.0.0.1:9/hook", project_id=service.project_id)
    send_tests(service.runtime, webhook_id)
    service.change(Delivery, next_attempt_at=utc_now() - HOUR)


def _ask_for_no_training(service: Service) -> None:
    service.change(Pool, train_at=utc_now() - HOUR)


def _fill_the_disk(service: Service) -> None:
    usage = type(shutil.disk_usage(service.runtime.settings.spool_dir))
    service.patch.setattr(shutil, "disk_usage", lambda _: usage(1000, 950, 50))


FAULTS = {
    "GleanerStoreDown": Faults(_stop_redis),
    "GleanerApiErrors": Faults(_lose_the_labels, _fail_to_label),
    "GleanerLabelsSlow": Faults(lambda _: None, _label_slowly),
    "GleanerQueriesWait": Faults(_ask_nobody),
    "GleanerJobsWait": Faults(_train_nobody),
    "GleanerWorkerGone": Faults(_end_worker),
    "GleanerDispatcherGone": Faults(_let_the_lead_run_out),
    "GleanerJobsFail": _twice(_fail_a_training),
    "GleanerDeliveriesFail": _twice(_refuse_deliveries),
    "GleanerDeliveriesLate": Faults(_send_nothing),
    "GleanerModelStale": Faults(_fail_a_training),
    "GleanerTrainingOverdue": Faults(_ask_for_no_training),
    "GleanerDiskNearlyFull": Faults(_fill_the_disk),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_when_its_fault_is_there(service: Service, name: str) -> None:
    service.watched.scrape()
    assert service.watched.scrapes.evaluate(RULES[name]) == {}
    for step in FAULTS[name]:
        step(service)
        service.watched.scrape()
    assert service.watched.scrapes.evaluate(RULES[name])


def test_no_alert_fires_in_a_healthy_service(service: Service) -> None:
    for n in range(1, 4):
        assert service.label(n) == 200
        service.watched.scrape()
    assert {name: found for name, rule in RULES.items() if (found := service.watched.scrapes.evaluate(rule))} == {}


def test_a_process_that_cannot_be_scraped_is_down(service: Service) -> None:
    service.watched.scrapes.add('up{job="gleaner"} 0\n', at=0.0)  # Prometheus says so itself
    assert service.watched.scrapes.evaluate(RULES["GleanerApiDown"])


def test_a_service_that_prometheus_does_not_know_any_more_is_gone(service: Service) -> None:
    service.watched.scrape()
    assert not service.watched.scrapes.evaluate(RULES["GleanerApiGone"])
    service.watched.scrapes.add('up{job="another"} 1\n', at=60.0)
    assert service.watched.scrapes.evaluate(RULES["GleanerApiGone"])


def test_every_alert_has_a_fault() -> None:
    assert RULES.keys() == FAULTS.keys() | {"GleanerApiDown", "GleanerApiGone"}


def test_alerts_and_the_dashboard_ask_for_what_is_told(service: Service) -> None:
    service.watched.scrape()
    told = {name for name, series in service.watched.scrapes.taken[-1][1].items() if series}
    panels = json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]
    asked = [*RULES.values(), *(target["expr"] for panel in panels for target in panel["targets"])]
    names = {name for one in asked for name in _METRIC.findall(one)}
    # these have series once a job has ended
    assert names - told == {"gleaner_job_duration_seconds_bucket", "gleaner_job_wait_seconds_bucket"}
    _, _, metrics = (FOLDER.parent / "README.md").read_text().partition("\n## Metrics\n")
    described = set(_METRIC.findall(metrics.partition("\n## ")[0]))
    families = {
        name.removesuffix("_bucket") for name in told | names if not name.endswith(("_count", "_sum", "_created"))
    }
    assert described == families - {"up"}
