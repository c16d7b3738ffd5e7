import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import ErrorList, IdempotentAnswer, Job, Lease, Outbox, Pool
from service.dispatcher.main import dispatch
from service.dispatcher.timers import Task, repeat, tasks
from service.queue.memory import MemoryQueue
from service.queue.messages import MergeMessage
from tests.dispatcher.receivers import run, until
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import Api, make_runtime

DAY = timedelta(days=1)


def run_task(runtime: Runtime, name: str) -> None:
    next(task for task in tasks(runtime) if task.name == name).run(runtime)


def test_a_quiet_project_is_trained_and_rung_at_once(api: Api) -> None:
    project_id = api.project()
    with api.runtime.database.write() as session:
        due = {"train_at": utc_now(), "label_generation": 3}
        session.execute(update(Pool).where(Pool.project_id == project_id).values(due))
    run_task(api.runtime, "request_trainings")
    run_task(api.runtime, "request_trainings")
    with api.runtime.database.read() as session:
        (job,) = session.scalars(select(Job).where(Job.kind == "training"))
    assert api.runtime.queue.waiting() == {f"{job.id}-0"}


def test_what_has_served_is_forgotten(api: Api) -> None:
    project_id, runtime, now = api.project(), api.runtime, utc_now()
    runtime.objects.put_bytes("errors/old", b"{}")
    runtime.objects.put_bytes("errors/new", b"{}")
    common = {"project_id": project_id, "job_id": "job_1", "holder": "job_1", "row": 0}
    with runtime.database.write() as session:
        for age, name in ((2 * DAY, "old"), (-DAY, "new")):
            session.add(Lease(**common, example_id=name, expires_at=now - age))
            session.add(ErrorList(id=name, project_id=project_id, key=f"errors/{name}", expires_at=now - age))
            session.add(IdempotentAnswer(owner="key_1", key=name, request_hash="", token="", created_at=now - age))
        cancelled = jobs.enqueue(session, project_id=project_id, kind="merge", message=MergeMessage(), now=now, share=1)
        jobs.cancel(session, cancelled, now=now)
    for name in ("forget_leases", "forget_answers", "forget_error_lists", "forget_outbox"):
        run_task(runtime, name)
    with runtime.database.read() as session:
        assert session.scalars(select(Lease.example_id)).all() == ["new"]
        assert session.scalars(select(ErrorList.id)).all() == ["new"]
        assert session.scalars(select(IdempotentAnswer.key)).all() == ["new"]
        assert session.scalar(select(func.count()).select_from(Outbox)) == 0
    assert list(runtime.objects.list("errors/")) == ["errors/new"]


def test_a_failing_task_is_tried_again_and_stops_no_other(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"bad": 0, "good": 0}

    def bad(_: Runtime) -> None:
        runs["bad"] += 1
        raise RuntimeError("no good")

    def good(_: Runtime) -> None:
        runs["good"] += 1

    async def scenario() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(Task("bad", 0.01, bad), runtime, stop))
            group.create_task(repeat(Task("good", 0.01, good), runtime, stop))
            await until(lambda: runs["bad"] >= 3 and runs["good"] > 2 * runs["bad"])
            stop.set()

    run(scenario)
    assert "no good" in "".join(capsys.readouterr())


def test_of_two_dispatchers_one_works_and_the_other_takes_over(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, leader_lease_seconds=0.6, dispatcher_tick_seconds=0.05)
    queue = runtime.queue
    assert isinstance(queue, MemoryQueue)

    def enqueue() -> None:
        with runtime.database.write() as session:
            jobs.enqueue(session, project_id="prj_a", kind="merge", message=MergeMessage(), now=utc_now(), share=0)

    async def scenario() -> None:
        stops = [asyncio.Event(), asyncio.Event()]
        running = [asyncio.create_task(dispatch(runtime, stop)) for stop in stops]
        for stop, task in zip(stops, running, strict=True):
            enqueue()
            await until(lambda: bool(queue.waiting()))
            while queue.take():
                pass
            with runtime.database.write() as session:
                session.execute(update(Job).values(state="cancelled"))
            stop.set()
            await asyncio.wait_for(task, PATIENCE_SECONDS)

    run(scenario)
    runtime.database.close()
