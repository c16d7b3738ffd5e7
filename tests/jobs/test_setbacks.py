"""What is done about attempts that end without a result."""

import errno
import os
import resource
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Dialect, Integer, TypeDecorator, bindparam, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import jobs as queries
from service.db.tables import Job
from service.dispatcher.lost_jobs import LostJobs
from service.errors import UnavailableError
from service.queue.messages import MergeMessage
from tests.support.pools import ask
from tests.support.postgres import running_postgres
from tests.support.runtime import Api, make_runtime
from tests.support.working import run_job
from workers.jobs import runner
from workers.jobs.context import JobContext
from workers.jobs.horse import TIMED_OUT, Loss, cause_of
from workers.jobs.limits import JobOverdueError, limited_memory, limited_time, private_bytes
from workers.jobs.runner import Workshop


def works(monkeypatch: pytest.MonkeyPatch, work: Callable[[JobContext], None]) -> None:
    monkeypatch.setattr(runner, "JOBS", {"query": work})


def job(runtime: Runtime, job_id: str) -> Job:
    with runtime.database.read() as session:
        return session.get_one(Job, job_id)


@pytest.mark.parametrize(
    "fault",
    [
        OperationalError("SELECT 1", {}, Exception("the server closed the connection")),
        UnavailableError("The database is busy with another request."),
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionResetError(),
    ],
)
def test_passing_faults_burn_no_attempts(api: Api, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    job_id = ask(api, api.project(), k=1)

    def fail(_: JobContext) -> None:
        raise fault

    works(monkeypatch, fail)
    for number in range(1, 11):
        assert not run_job(api.runtime, job_id)
        found = job(api.runtime, job_id)
        assert (found.state, found.attempt, found.passing_faults) == ("queued", number, number)


def test_only_a_run_that_ended_its_job_well_has_succeeded(api: Api) -> None:
    job_id = ask(api, api.project(), k=1)
    assert run_job(api.runtime, job_id)
    assert not run_job(api.runtime, job_id)
    cancelled = ask(api, api.project(), k=1)
    assert api.http.post(f"/v1/jobs/{cancelled}/cancel").status_code == 200
    assert not run_job(api.runtime, cancelled)


def test_a_job_whose_end_could_not_be_stored_has_not_succeeded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ask(api, api.project(), k=1)

    def fail_at_last(context: JobContext) -> None:
        with context.fenced() as (session, _):
            context.finish(session, {})
            raise OSError(errno.ENOSPC, "No space left on device")

    works(monkeypatch, fail_at_last)
    assert not run_job(api.runtime, job_id)
    assert job(api.runtime, job_id).state == "queued"


def test_faults_that_stay_come_to_an_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ask(api, api.project(), k=1)
    monkeypatch.setattr(jobs, "_MOST_PASSING_FAULTS", 2)

    def fail(_: JobContext) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    works(monkeypatch, fail)
    for _ in range(3):
        run_job(api.runtime, job_id)
    assert (job(api.runtime, job_id).error or {})["name"] == "unavailable"


def allocate(_: JobContext) -> None:
    np.ones(1024**3, dtype=np.uint8)


def map_too_much(_: JobContext) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize("work", [allocate, map_too_much])
def test_too_much_memory_is_said_at_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, work: Callable[[JobContext], None]
) -> None:
    job_id = ask(api, api.project(), k=1)
    works(monkeypatch, work)
    monkeypatch.setattr(runner, "memory_limits", lambda _: {"interactive": 900})
    assert not run_job(api.runtime, job_id)
    found = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (found["state"], found["attempts"]) == ("failed", 1)
    assert found["error"]["type"].endswith("/job-out-of-memory")
    assert "900 MiB" in found["error"]["detail"]


def test_the_limit_of_memory_does_not_count_what_a_job_before_left() -> None:
    mib = private_bytes() // 1024**2 + 200
    with pytest.raises(MemoryError), limited_memory(mib, kept=0):
        np.ones(1024**3, dtype=np.uint8)
    with limited_memory(mib, kept=1024**3):
        np.ones(1024**3, dtype=np.uint8)


def test_a_process_that_took_more_before_a_job_limits_it_no_more_for_that(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    works(monkeypatch, lambda _: limits.append(resource.getrlimit(resource.RLIMIT_DATA)[0]))
    workshop = Workshop(api.runtime.settings.model_copy(update={"query_memory_mib": 4000}))
    workshop.warm_bytes = private_bytes()
    left = bytearray(b"\1") * (200 * 1024**2)
    workshop.run_job(ask(api, api.project(), k=1))
    workshop.database.close()
    assert limits[0] >= 4000 * 1024**2 + len(left)


def test_the_limit_of_memory_ends_with_the_job() -> None:
    with pytest.raises(MemoryError), limited_memory(900):
        np.ones(1024**3, dtype=np.uint8)
    assert np.empty(1024**3, dtype=np.uint8).size == 1024**3


def test_a_job_whose_time_runs_out_in_the_middle_of_a_statement_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy makes errors of its own of the exceptions that are raised in it."""
    job_id = ask(api, api.project(), k=1)

    class Overdue(TypeDecorator[int]):
        impl, cache_ok = Integer, True

        def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's
            signal.raise_signal(signal.SIGALRM)
            return value

    def work(context: JobContext) -> None:
        with context.read() as session:
            session.execute(select(bindparam("one", 1, Overdue())))

    works(monkeypatch, work)
    run_job(api.runtime, job_id)
    found = job(api.runtime, job_id)
    assert found.attempt == 1
    assert found.error is not None
    assert found.error["name"] == "job-timed-out"
    assert "seconds" in found.error["detail"]


def test_the_limit_of_time_ends_with_the_job() -> None:
    handler, (left, _) = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 50)
    with pytest.raises(JobOverdueError), limited_time(5):
        signal.raise_signal(signal.SIGALRM)
    assert signal.getsignal(signal.SIGALRM) == handler
    assert 40 < signal.setitimer(signal.ITIMER_REAL, left)[0] < 50


def hold(api: Api, workshop: Workshop, pid: int) -> str:
    job_id = ask(api, api.project(), k=1)
    with api.runtime.database.write() as session:
        holder = f"{workshop.name}.{pid}."
        assert jobs.claim(session, job_id, lease=timedelta(seconds=60), now=utc_now(), holder=holder)
    return job_id


def test_a_parent_gives_back_what_its_dead_horse_had_and_nothing_else(api: Api) -> None:
    workshop = Workshop(api.runtime.settings)
    job_id = hold(api, workshop, 7)
    workshop.record_loss(Loss(job_id, 77, "its process was ended by SIGSEGV"))
    Workshop(api.runtime.settings).record_loss(Loss(job_id, 7, "its process was ended by SIGSEGV"))
    assert job(api.runtime, job_id).state == "running"
    workshop.record_loss(Loss(job_id, 7, "its worker was stopped", passing=True))
    found = job(api.runtime, job_id)
    assert (found.state, found.attempt, found.passing_faults) == ("queued", 1, 1)
    late = hold(api, workshop, 8)
    workshop.record_loss(Loss(late, 8, TIMED_OUT))
    assert (job(api.runtime, late).error or {})["name"] == "job-timed-out"


def test_causes_name_signals_and_exit_codes() -> None:
    causes = []
    ends: list[Callable[[], None]] = [
        lambda: os._exit(0),
        lambda: os._exit(3),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
    ]
    for end in ends:
        if (pid := os.fork()) == 0:
            end()
        causes.append(cause_of(os.waitpid(pid, 0)[1]))
    assert causes == [None, "its process ended with exit code 3", "its process was ended by SIGKILL"]


def test_while_the_database_is_away_silence_means_nothing(api: Api) -> None:
    workshop = Workshop(api.runtime.settings)
    job_id = hold(api, workshop, 7)
    lease = api.runtime.settings.job_lease_seconds
    clock = [0.0]
    finder = LostJobs(lambda: clock[0])
    finder.give_back(api.runtime)

    def expire(session: Session) -> None:
        found = queries.get(session, job_id)
        assert found is not None
        found.lease_until = utc_now() - timedelta(seconds=1)

    clock[0] = 60.0  # it could not write for a minute, so neither could workers
    with api.runtime.database.write() as session:
        expire(session)
    finder.give_back(api.runtime)
    assert job(api.runtime, job_id).state == "running"
    for _ in range(int(lease) + 1):
        clock[0] += 1.0
        finder.give_back(api.runtime)
    assert job(api.runtime, job_id).state == "queued"


def test_while_the_server_is_away_silence_means_nothing(tmp_path: Path) -> None:
    clock = [0.0]
    finder = LostJobs(lambda: clock[0])
    with running_postgres(durable=True) as server:
        runtime = make_runtime(tmp_path, database_url=server.create_database())
        with runtime.write() as session:
            message = MergeMessage()
            asked = jobs.enqueue(session, project_id="prj_a", kind="merge", message=message, now=utc_now(), share=1)
        finder.give_back(runtime)  # it looks while all is well
        with runtime.write() as session:
            assert jobs.claim(session, asked.id, lease=timedelta(seconds=-1), now=utc_now())
        server.kill()
        for clock[0] in (1.0, 20.0, 40.0, 60.0):
            with pytest.raises(OperationalError):
                finder.give_back(runtime)
        server.start()
        clock[0] = 61.0
        finder.give_back(runtime)
        assert job(runtime, asked.id).state == "running"
        for _ in range(int(runtime.settings.job_lease_seconds) + 1):
            clock[0] += 1.0
            finder.give_back(runtime)
        assert job(runtime, asked.id).state == "queued"
        runtime.database.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_job_that_cannot_be_claimed_now_waits(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = ask(api, api.project(), k=1)
    with api.runtime.database.write() as session:
        session.execute(text("ALTER TABLE outbox RENAME TO away"))
    run_job(api.runtime, job_id)
    assert "job_not_claimed" in capsys.readouterr().out
    assert job(api.runtime, job_id).state == "queued"
    with api.runtime.database.write() as session:
        session.execute(text("ALTER TABLE away RENAME TO outbox"))
    run_job(api.runtime, job_id)
    assert job(api.runtime, job_id).state == "succeeded"
