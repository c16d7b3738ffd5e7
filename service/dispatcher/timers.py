"""What happens without a request: one list of tasks, each repeated while this process leads."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from service.actions import bulk, calls, large_uploads, relay, retention, statistics, trainings
from service.api.deps.runtime import Runtime, utc_now
from service.dispatcher.janitor import forget_old
from service.dispatcher.lost_jobs import LostJobs
from service.dispatcher.relay import Relay
from service.telemetry import logger

_LONGEST_BACKOFF_SECONDS = 30.0
# Nobody writes a file for longer without touching it.
_SCRATCH_SECONDS = 3600.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do `every` so many seconds; it runs in a thread and may block."""

    name: str
    every: float
    run: Callable[[Runtime], object]


def tasks(runtime: Runtime) -> tuple[Task, ...]:
    """All of them: a line here adds one."""
    settings = runtime.settings
    ringer = Relay()
    return (
        Task("ring_due", settings.dispatcher_tick_seconds, ringer.ring_due),
        Task("ring_lost", settings.sweep_seconds, ringer.ring_lost),
        Task("give_back_lost_jobs", 1.0, LostJobs().give_back),
        Task("request_trainings", 1.0, _request_trainings),
        Task("ask_programs", settings.dispatcher_tick_seconds, _ask_programs),
        Task("forget_leases", 30.0, _forget_leases),
        Task("forget_outbox", 60.0, _forget_outbox),
        Task("forget_answers", 300.0, _forget_answers),
        Task("forget_old", 120.0, _forget_old),
        Task("forget_error_lists", 300.0, _forget_error_lists),
        Task("recover_uploads", 15.0, _recover_uploads),
        Task("refresh_statistics", settings.sweep_seconds, _refresh_statistics),
        Task("clear_scratch", 600.0, _clear_scratch),
    )


async def repeat(task: Task, runtime: Runtime, stop: asyncio.Event) -> None:
    """Run the task again and again until `stop`; after a failure it is tried again, ever more seldom."""
    failures = 0
    while not stop.is_set():
        failures = 0 if await succeeds(task.name, asyncio.to_thread(task.run, runtime)) else failures + 1
        longest = max(task.every, _LONGEST_BACKOFF_SECONDS)
        await pause(stop, min(task.every * 2 ** min(failures, 10), longest))


async def succeeds(name: str, work: Awaitable[object]) -> bool:
    """Do `work`. A fault of it is logged, and false: one failing task must not stop the others."""
    try:
        await work
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        _log.exception("task_failed", task=name)
        return False
    return True


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past `stop`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _request_trainings(runtime: Runtime) -> None:
    more = True
    while more:
        with runtime.write() as session:
            more = trainings.request_due(session, now=utc_now(), share=runtime.settings.jobs_in_queue_per_project)


def _ask_programs(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        more = calls.any_due(session, now=utc_now())
    while more:
        with runtime.write() as session:
            more = calls.advance(session, settings=runtime.settings, now=utc_now())


def _refresh_statistics(runtime: Runtime) -> None:
    with runtime.write() as session:
        statistics.refresh(session)


def _forget_leases(runtime: Runtime) -> None:
    with runtime.write() as session:
        retention.forget_leases(session, now=utc_now())


def _forget_outbox(runtime: Runtime) -> None:
    with runtime.write() as session:
        relay.forget_ended(session)


def _forget_answers(runtime: Runtime) -> None:
    with runtime.write() as session:
        retention.forget_answers(session, hours=runtime.settings.idempotency_hours, now=utc_now())


def _forget_old(runtime: Runtime) -> None:
    forget_old(runtime, now=utc_now())


def _forget_error_lists(runtime: Runtime) -> None:
    with runtime.write() as session:
        bulk.forget_error_lists(session, now=utc_now())


def _recover_uploads(runtime: Runtime) -> None:
    more = True
    while more:
        with runtime.write() as session:
            more = large_uploads.recover(session, now=utc_now(), share=runtime.settings.jobs_in_queue_per_project)


def _clear_scratch(runtime: Runtime) -> None:
    runtime.objects.clear_scratch(_SCRATCH_SECONDS)
