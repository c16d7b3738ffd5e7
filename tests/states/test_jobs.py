"""The life cycle of a job as a state machine: claims, fences, expiry, late stores, cancellation, the last attempt."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from service.actions import jobs, relay, trainings
from service.actions.jobs import Claim, Setback
from service.db.queries import jobs as queries
from service.db.tables import Job
from service.queue.messages import MergeMessage
from tests.states.clock import Clock, quick_runtime

LEASE = timedelta(seconds=10)
MOST = 3
TERMINAL = {"succeeded", "failed", "cancelled"}


class JobLife(RuleBasedStateMachine):
    """One job; workers that hold old and new claims of it; a dispatcher; somebody who cancels."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.runtime = self.open.enter_context(quick_runtime())
        self.clock = Clock()
        self.holder: str | None = None  # the token that may write
        self.seen: dict[str, Job] = {}  # by token: the job as a worker saw it when it was its own
        self.lease_until = self.clock.now
        self.burned = self.passed = 0
        self.end: tuple[Any, ...] | None = None

    def teardown(self) -> None:
        self.open.close()

    @property
    def now(self) -> datetime:
        return self.clock.now

    def job(self) -> Job:
        with self.runtime.database.read() as session:
            job = queries.get(session, self.job_id)
            assert job is not None
            return job

    @initialize()
    def begin(self) -> None:
        with self.runtime.database.write() as session:
            self.job_id = jobs.enqueue(
                session, project_id="prj_a", kind="merge", message=MergeMessage(), now=self.now, share=1
            ).id

    @rule(seconds=st.sampled_from([0.1, 4.0, 11.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(target=claims)
    def claim(self) -> Any:
        queued = self.job().state == "queued"
        with self.runtime.database.write() as session:
            held = jobs.claim(session, self.job_id, lease=LEASE, now=self.now)
        assert (held is not None) == queued
        if held is None:
            return Claim(self.job_id, "prj_a", "merge", MergeMessage(), 0, "nobody's", None)
        assert held.attempt == self.burned + self.passed + 1
        self.holder, self.lease_until = held.token, self.now + LEASE
        self.seen[held.token] = self.job()
        return held

    @rule(held=claims)
    def beat(self, held: Claim) -> None:
        with self.runtime.database.write() as session:
            alive = jobs.beat(session, held, until=self.now + LEASE, done=1, total=2, phase="working")
        assert alive == (held.token == self.holder)
        if alive:
            self.lease_until = self.now + LEASE

    @rule(held=consumes(claims), error=st.sampled_from([None, {"name": "x", "detail": "y"}]))
    def finish(self, held: Claim, error: dict[str, Any] | None) -> None:
        with self.runtime.database.write() as session:
            kept = jobs.finish(session, held, now=self.now, result={"by": held.attempt}, error=error)
        assert kept == (held.token == self.holder), "only who holds the job may end it"
        if kept:
            self.holder = None
            assert self.job().result == {"by": held.attempt}

    @rule(held=claims)
    def fail(self, held: Claim) -> None:
        if held.token not in self.seen:
            return
        with self.runtime.database.write() as session:
            error = {"name": "x", "detail": "y"}
            ended = jobs.fail(session, self.seen[held.token], now=self.now, error=error)
        assert ended == (held.token == self.holder), "only who holds the job may fail it"
        if ended:
            self.holder = None
            assert self.job().state == "failed"

    @rule(held=claims, most=st.sampled_from([1, MOST]))
    def give_back_late(self, held: Claim, most: int) -> None:
        if held.token not in self.seen or held.token == self.holder:
            return
        before = self.job().version
        with self.runtime.database.write() as session:
            trainings.give_back(session, self.seen[held.token], now=self.now, max_attempts=most, share=1)
        assert self.job().version == before, "only who holds the job may give it back"

    @rule()
    def dispatcher_looks(self) -> None:
        lost = self.holder is not None and self.lease_until < self.now
        with self.runtime.database.write() as session:
            assert trainings.give_back_lost(session, max_attempts=MOST, now=self.now, share=1) == lost
        if lost:
            self.set_back(passing=False)

    @precondition(lambda self: self.holder is not None)
    @rule(passing=st.booleans())
    def attempt_fails(self, *, passing: bool) -> None:
        with self.runtime.database.write() as session:
            job = queries.get(session, self.job_id)
            assert job is not None
            setback = Setback("SIGSEGV", passing=passing)
            trainings.give_back(session, job, now=self.now, max_attempts=MOST, share=1, setback=setback)
        self.set_back(passing=passing)

    def set_back(self, *, passing: bool) -> None:
        self.holder = None
        self.passed += passing
        self.burned += not passing
        job = self.job()
        assert job.state == ("failed" if self.burned >= MOST else "queued")
        if job.state == "failed":
            assert (job.error or {})["name"] == "worker-lost"
        else:
            assert self.rings_after() == jobs.wait_after(job.attempt)

    def rings_after(self) -> timedelta:
        """How long the dispatcher waits before it rings the job."""
        wait = timedelta(0)
        with self.runtime.database.read() as session:
            while not relay.due(session, share=1, limit=1, now=self.now + wait):
                wait += timedelta(seconds=0.5)
                assert wait <= timedelta(seconds=30)
        return wait

    @rule()
    def cancel(self) -> None:
        if self.job().state in TERMINAL:
            return
        with self.runtime.database.write() as session:
            jobs.cancel(session, jobs.get(session, self.job_id), now=self.now)
        self.holder = None
        assert self.job().state == "cancelled"

    @invariant()
    def the_end_never_changes(self) -> None:
        job = self.job()
        now = (job.state, job.result, job.error, job.finished_at, job.version, job.attempt)
        if self.end is not None:
            assert now == self.end
        elif job.state in TERMINAL:
            self.end = now
        assert job.token == self.holder
        assert (job.state == "running") == (self.holder is not None)


TestJobLife = JobLife.TestCase
TestJobLife.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
