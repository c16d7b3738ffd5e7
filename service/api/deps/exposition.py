"""What Prometheus is told: what the processes of the API counted, and what only the stores know."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from threading import Lock

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from service.actions import figures, retention
from service.actions.figures import Attempts, Buckets, EndedJobs, Figures
from service.api.deps.runtime import Runtime, utc_now
from service.errors import UnavailableError
from service.queue.messages import QUEUE_OF_KIND, QUEUES, QueueUnavailableError
from service.settings import Settings
from service.storage.stores import open_objects
from service.telemetry import logger

_KEPT_SECONDS = 3.0
_PATIENCE_SECONDS = 3.0  # who scrapes gives up soon: after 10 s by default
_log = logger(__name__)


def exposition(counted: Collector, service: "Service") -> CollectorRegistry:
    """What is answered: what was counted, and the state of the service."""
    registry = CollectorRegistry()
    registry.register(counted)
    registry.register(service)
    return registry


def exposition_of(app: FastAPI) -> CollectorRegistry:
    """What an application answers: with the counts of all processes, where they count in files.

    What has ended each process would count from its own beginning, so that one that counts in files does not tell it.
    """
    state = app.state
    if state.exposition is None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        counted = Processes(Path(folder)) if folder else state.registry
        state.exposition = exposition(counted, Service(_hasty(state.runtime), counts=not folder))
    made: CollectorRegistry = state.exposition
    return made


def hasty(settings: Settings) -> Settings:
    """With an object store that is asked once, and not for long."""
    names = ("s3_connect_timeout_seconds", "s3_read_timeout_seconds")
    patience = {name: min(_PATIENCE_SECONDS, getattr(settings, name)) for name in names}
    return settings.model_copy(update={"s3_attempts": 1, **patience})


def _hasty(runtime: Runtime) -> Runtime:
    if not runtime.settings.objects_url:
        return runtime
    return replace(runtime, objects=open_objects(hasty(runtime.settings)))


class Processes(Collector):
    """Adds up what the API processes counted, also those that have ended; only what lives has requests in flight."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all = MultiProcessCollector(None, path=str(folder))

    def collect(self) -> Iterable[Metric]:
        """Read the files."""
        for path in self._folder.glob("gauge_live*.db"):
            pid = int(path.stem.rpartition("_")[2])
            if not _lives(pid):
                with suppress(FileNotFoundError):  # another scrape was faster
                    mark_process_dead(pid, str(self._folder))
        found: Iterable[Metric] = self._all.collect()
        return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # it is gone, and its number may be that of another user's process
        return False
    return True


class Service(Collector):
    """The state of the whole service, from its stores. An answer is kept for a moment: scrapes cost little.

    Every replica tells the same, so take the maximum over them, not the sum.
    """

    def __init__(self, runtime: Runtime, *, counts: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._with_counts = counts
        self._clock = clock
        self._ended = EndedJobs(utc_now())
        self._attempts = Attempts()
        self._turn = Lock()
        self._kept: list[Metric] = []
        self._kept_until = 0.0

    def collect(self) -> list[Metric]:
        """Ask the stores, unless that was done a moment ago."""
        with self._turn:
            if self._clock() >= self._kept_until:
                self._kept = list(self._ask())
                self._kept_until = self._clock() + _KEPT_SECONDS
            return self._kept

    def _ask(self) -> Iterator[Metric]:
        yield _gauge("gleaner_build_info", "The release.", {version("gleaner"): 1.0}, "version")
        found, workers = self._sql(), self._workers()
        up = {"sql": found is not None, "objects": self._has_objects(), "queue": workers is not None}
        stores = {store: float(answers) for store, answers in up.items()}
        yield _gauge("gleaner_store_up", "Whether a store answers.", stores, "store")
        if workers is not None:
            counts = {queue: float(workers.get(queue, 0)) for queue in QUEUES}
            yield _gauge("gleaner_workers", "Workers that serve a queue.", counts, "queue")
        yield from self._disk()
        if found is not None:
            yield from _state(found)
            if self._with_counts:
                yield from self._counts()

    def _sql(self) -> Figures | None:
        now = utc_now()
        try:
            with self._runtime.database.read() as session:
                found = figures.read(session, now=now)
                if self._with_counts:
                    self._ended.look(session, now=now)
                    self._attempts.look(session)
        except (SQLAlchemyError, UnavailableError) as error:
            _log.warning("figures_not_read", error=str(error))
            return None
        return found

    def _workers(self) -> Mapping[str, int] | None:
        try:
            return self._runtime.queue.workers()
        except QueueUnavailableError:
            return None

    def _has_objects(self) -> bool:
        try:
            self._runtime.objects.exists("ready")
        except (OSError, UnavailableError):
            return False
        return True

    def _disk(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._runtime.settings.spool_dir)
        yield _one("gleaner_disk_size_bytes", "Of the disk of the data folder.", usage.total)
        yield _one("gleaner_disk_free_bytes", "Free on the disk of the data folder.", usage.free)

    def _counts(self) -> Iterator[Metric]:
        ended = self._ended
        outcomes = CounterMetricFamily("gleaner_jobs_ended", "Jobs that ended.", labels=["kind", "outcome"])
        for kind in QUEUE_OF_KIND:
            for outcome in ("succeeded", "failed", "cancelled"):
                outcomes.add_metric([kind, outcome], ended.outcomes[kind, outcome])
        yield outcomes
        yield _histogram("gleaner_job_duration_seconds", "From the first start of a job to its end.", ended.durations)
        yield _histogram("gleaner_job_wait_seconds", "From the request of a job to its first start.", ended.waits)
        what = "Attempts to deliver webhooks."
        yield _histogram("gleaner_webhook_attempt_duration_seconds", what, self._attempts.durations, label="outcome")


def _state(found: Figures) -> Iterator[Metric]:
    waiting = {queue: found.waiting.get(queue, figures.Waiting(0, 0.0)) for queue in QUEUES}
    counts = {queue: float(one.count) for queue, one in waiting.items()}
    yield _gauge("gleaner_jobs_queued", "Jobs that wait.", counts, "queue")
    ages = {queue: one.seconds for queue, one in waiting.items()}
    yield _gauge("gleaner_queue_oldest_seconds", "Age of the oldest job that could begin.", ages, "queue")
    running = {kind: float(found.running.get(kind, 0)) for kind in QUEUE_OF_KIND}
    yield _gauge("gleaner_jobs_running", "Jobs that run.", running, "kind")
    removed = CounterMetricFamily("gleaner_removed", "What was removed as its time was over.", labels=["what"])
    for kind in retention.KINDS:
        removed.add_metric([kind], found.removed.get(kind, 0))
    yield removed
    labels = {"human": float(found.totals.human_labels), "automated": float(found.totals.automated_labels)}
    yield _gauge("gleaner_labels", "Labels that are current.", labels, "source")
    for name, what, value in (
        ("trainings_coalesced", "Trainings that wait for another of their project to end.", found.trainings_behind),
        (
            "uncovered_labels_max",
            "Changes of labels that a serving model lacks, at most.",
            found.uncovered_most,
        ),
        ("uncovered_labels", "Changes of labels that serving models lack.", found.uncovered_all),
        ("training_failed_projects", "Projects with labels whose training failed.", found.failed_projects),
        ("training_overdue_seconds", "How late an automatic training is asked for.", found.overdue_seconds),
        ("webhook_deliveries_pending", "Deliveries that are to be attempted.", found.deliveries.count),
        ("webhook_deliveries_retried", "Pending ones that failed before.", found.deliveries_retried),
        ("webhook_delivery_oldest_seconds", "Age of the oldest pending delivery.", found.deliveries.seconds),
        ("webhook_delivery_late_seconds", "How late the next attempt is.", found.deliveries_late_seconds),
        ("outbox_jobs", "Jobs that are to be rung.", found.outbox.count),
        ("outbox_late_seconds", "How late a job is rung.", found.outbox.seconds),
        ("dispatcher_leads", "1 while a dispatcher leads.", found.leads),
        ("projects", "Projects.", found.totals.projects),
        ("examples", "Examples in all pools.", found.totals.examples),
    ):
        yield _one(f"gleaner_{name}", what, value)


def _one(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=float(value))


def _gauge(name: str, what: str, values: Mapping[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, what: str, values: Mapping[str, Buckets], label: str = "kind") -> Metric:
    family = HistogramMetricFamily(name, what, labels=[label])
    for key, buckets in values.items():
        below, bounds = 0, [*map(str, buckets.bounds), "+Inf"]
        cumulative = []
        for bound, count in zip(bounds, buckets.counts, strict=True):
            below += count
            cumulative.append((bound, float(below)))
        family.add_metric([key], cumulative, buckets.total)
    return family
