"""Retrain coalescing as a state machine: labels, ticks, crashes and ends in any order."""

from contextlib import ExitStack
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.actions import jobs, projects, trainings
from service.actions.jobs import Claim, Room
from service.api.deps.runtime import Runtime
from service.api.schemas.projects import ProjectIn
from service.db.queries import jobs as job_queries
from service.db.queries import projects as queries
from service.db.tables import Job
from service.errors import ProjectPausedError
from tests.states.clock import Clock, quick_runtime

LEASE = timedelta(seconds=10)
SHARE, MOST = 16, 3
IDLE_SECONDS = 60
ROOM = Room(of_project=100, in_all=100)


def make_project(runtime: Runtime, clock: Clock) -> str:
    """A project that trains at 5 labels, then every 4; its id."""
    retraining = {"first_at": 5, "every": 4, "idle_seconds": IDLE_SECONDS}
    task = {"type": "classification", "classes": ["a", "b"]}
    features = {"type": "vector", "dimensions": 2}
    made = ProjectIn.model_validate({"name": "n", "task": task, "features": features, "retraining": retraining})
    with runtime.database.write() as session:
        return projects.create(session, made.config(), now=clock.now).project.id


class Coalescing(RuleBasedStateMachine):
    """One project, its labels, its dispatcher, and a worker that may crash, be slow, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.runtime = self.open.enter_context(quick_runtime())
        self.clock = Clock()
        self.project_id = make_project(self.runtime, self.clock)
        self.running: tuple[Claim, int] | None = None  # and the labels that it has loaded
        self.labels = self.in_model = 0
        self.paused = False

    def teardown(self) -> None:
        try:
            self.all_is_trained_in_the_end()
        finally:
            self.open.close()

    @rule(count=st.integers(1, 12))
    def label(self, count: int) -> None:
        self.labels += count
        with self.runtime.database.write() as session:
            project, pool = projects.get(session, self.project_id), queries.lock_pool(session, self.project_id)
            pool.label_generation += count
            trainings.after_labels(session, project, pool, now=self.clock.now, share=SHARE)

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0]))
    def tick(self, seconds: float) -> None:
        now = self.clock.sleep(seconds)
        with self.runtime.database.write() as session:
            lost = trainings.give_back_lost(session, max_attempts=MOST, now=now, share=SHARE)
            trainings.request_due(session, now=now, share=SHARE)
        if lost:
            self.running = None

    @rule(paused=st.booleans())
    def pause(self, *, paused: bool) -> None:
        with self.runtime.database.write() as session:
            changes = {"paused": paused}
            projects.change(session, self.project_id, changes, version=None, now=self.clock.now, share=SHARE)
        self.paused = paused
        assert not paused or all(job.state == "running" for job in self.unfinished())

    @precondition(lambda self: self.paused)
    @rule()
    def ask_in_vain(self) -> None:
        with pytest.raises(ProjectPausedError), self.runtime.database.write() as session:
            trainings.request(session, self.project_id, now=self.clock.now, share=SHARE, room=ROOM)

    @precondition(lambda self: not self.paused)
    @rule()
    def ask(self) -> None:
        waiting = [job.id for job in self.unfinished() if job.state == "queued"]
        with self.runtime.database.write() as session:
            job = trainings.request(session, self.project_id, now=self.clock.now, share=SHARE, room=ROOM)
        assert job.id in waiting or not waiting, "asking while one waits gives that one"

    @rule()
    def start(self) -> None:
        waiting = [job.id for job in self.unfinished() if job.state == "queued"]
        for job_id in waiting:
            with self.runtime.database.write() as session:
                held = jobs.claim(session, job_id, lease=LEASE, now=self.clock.now)
                if held is not None:
                    assert self.running is None, "two trainings of one project run"
                    assert jobs.pin(session, held, chunks=0, labels=self.labels)
                    self.running = held, self.labels

    @precondition(lambda self: self.running is not None)
    @rule()
    def succeed(self) -> None:
        assert self.running is not None
        held, loaded = self.running
        with self.runtime.database.write() as session:
            job = job_queries.get(session, held.job_id)
            assert job is not None
            assert jobs.finish(session, held, now=self.clock.now, result={})
            trainings.after_end(session, job, now=self.clock.now, share=SHARE, succeeded=True)
        self.running, self.in_model = None, loaded

    @precondition(lambda self: self.running is not None)
    @rule(cancel=st.booleans())
    def end_badly(self, *, cancel: bool) -> None:
        assert self.running is not None
        with self.runtime.database.write() as session:
            job = jobs.get(session, self.running[0].job_id)
            if cancel:
                trainings.cancel(session, job, now=self.clock.now, share=SHARE)
            else:
                error = {"name": "internal-error", "detail": "x"}
                trainings.fail(session, job, now=self.clock.now, share=SHARE, error=error)
        self.running = None

    def unfinished(self) -> list[Job]:
        with self.runtime.database.read() as session:
            return list(job_queries.trainings(session, self.project_id))

    @invariant()
    def one_runs_and_one_waits(self) -> None:
        found = self.unfinished()
        assert sum(job.state == "running" for job in found) == (self.running is not None)
        # One that lost its worker waits beside one that was asked for while it ran: two in all, whatever happens.
        assert sum(job.state == "queued" and job.attempt == 0 for job in found) <= 1
        assert len(found) <= 2
        assert not self.paused or not any(job.state == "queued" and job.attempt == 0 for job in found)

    def all_is_trained_in_the_end(self) -> None:
        """Workers work, time passes, nobody labels: within a few idle periods the last label is in the last model."""
        self.pause(paused=False)
        for _ in range(8):
            self.start()
            if self.running is not None:
                self.succeed()
            self.tick(IDLE_SECONDS + 1)
        assert self.in_model == self.labels
        assert self.unfinished() == []


TestCoalescing = Coalescing.TestCase
TestCoalescing.settings = settings(max_examples=15, stateful_step_count=30, deadline=None, derandomize=True)


def test_ten_thousand_labels_in_a_minute_leave_one_running_and_one_waiting() -> None:
    machine = Coalescing()
    try:
        for number in range(1000):
            machine.clock.sleep(0.06)
            machine.label(10)
            if number == 0:
                machine.start()
            elif number % 100 == 0 and machine.running is not None:
                with machine.runtime.database.write() as session:  # the worker lives
                    held, until = machine.running[0], machine.clock.now + LEASE
                    assert jobs.beat(session, held, until=until, done=0, total=1, phase="training")
        machine.one_runs_and_one_waits()
        assert sorted(job.state for job in machine.unfinished()) == ["queued", "running"]
        with machine.runtime.database.read() as session:
            every = jobs.page(session, machine.project_id, kind=None, state=None, before=None, size=100)
        assert len(every) == 2
    finally:
        machine.teardown()
