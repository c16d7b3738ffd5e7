"""Deliveries of webhooks as a state machine, with a clock that only the test moves."""

from collections import defaultdict
from contextlib import ExitStack
from datetime import datetime, timedelta

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.actions import deliveries, events, webhooks
from service.actions.deliveries import RETRIES, Outcome, Parcel
from service.db.queries import webhooks as queries
from service.db.tables import Delivery
from tests.dispatcher.receivers import ADMIN
from tests.states.clock import Clock, quick_runtime

LEASE = timedelta(seconds=45)


class Sending(RuleBasedStateMachine):
    """One receiver that takes, fails, asks for time or is gone; a dispatcher that may die between send and record."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.runtime = self.open.enter_context(quick_runtime())
        self.clock = Clock()
        self.under_way: list[Parcel] = []
        self.due: dict[str, tuple[datetime, datetime]] = {}  # bounds of the next attempt
        self.bodies: defaultdict[str, set[bytes]] = defaultdict(set)
        self.ended: dict[str, str] = {}
        self.emitted = 0
        self.enabled = True
        with self.runtime.database.write() as session:
            webhook, _ = webhooks.create(
                session,
                ADMIN,
                url="https://93.184.215.14/",
                event_names=["pool.exhausted"],
                project_id=None,
                sealer=self.runtime.sealer,
                now=self.clock.now,
            )
        self.webhook_id = webhook.id

    def teardown(self) -> None:
        self.open.close()

    def delivery(self, delivery_id: str) -> Delivery:
        with self.runtime.database.read() as session:
            return session.get_one(Delivery, delivery_id)

    @precondition(lambda self: self.enabled)
    @rule()
    def emit(self) -> None:
        data = {"project_id": "prj_a", "job_id": None, "model": None}
        with self.runtime.database.write() as session:
            made = events.deliver(
                session, webhook_id=self.webhook_id, event="pool.exhausted", data=data, now=self.clock.now
            )
        assert made is not None
        self.emitted += 1
        assert made.sequence == self.emitted == orjson.loads(made.body)["sequence"]
        self.due[made.id] = (self.clock.now, self.clock.now)

    @rule(seconds=st.sampled_from([1.0, 6.0, 50.0, 400.0, 90_000.0, 100_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule()
    def claim(self) -> None:
        with self.runtime.database.write() as session:
            parcels = deliveries.claim(session, busy={}, per_endpoint=100, limit=100, lease=LEASE, now=self.clock.now)
        taken = {parcel.delivery_id for parcel in parcels}
        for delivery_id, (earliest, latest) in self.due.items():
            assert delivery_id not in taken or earliest <= self.clock.now
            worn_out = self.delivery(delivery_id).state == "failed"  # never came back, as often as it may
            assert delivery_id in taken or worn_out or not self.enabled or self.clock.now <= latest
        for parcel in parcels:
            self.bodies[parcel.delivery_id].add(parcel.body)
            self.due[parcel.delivery_id] = (self.clock.now + LEASE, self.clock.now + LEASE)
        self.under_way += parcels

    @precondition(lambda self: self.under_way)
    @rule(
        index=st.integers(0, 50),
        status=st.sampled_from([200, 204, 302, 410, 429, 500, 503]),
        asked=st.sampled_from([None, 1.0, 7200.0, 1e9]),
    )
    def record(self, index: int, status: int, asked: float | None) -> None:
        parcel = self.under_way.pop(index % len(self.under_way))
        before = self.delivery(parcel.delivery_id)
        outcome = Outcome(at=self.clock.now, duration_ms=1, status=status, retry_after_seconds=asked)
        with self.runtime.database.write() as session:
            deliveries.record(session, parcel, outcome, now=self.clock.now)
        after = self.delivery(parcel.delivery_id)
        if status == 410:
            self.enabled = False
        if before.state != "pending" or before.attempt != parcel.attempt:
            assert (after.state, after.attempt) == (before.state, before.attempt), "a late record changes nothing"
        elif status in {200, 204}:
            assert after.state == "succeeded"
        elif status == 410 or parcel.attempt > len(RETRIES):
            assert after.state == "failed"
        elif self.enabled:
            self.check_wait(after, RETRIES[parcel.attempt - 1], asked)

    def check_wait(self, delivery: Delivery, scheduled: timedelta, asked: float | None) -> None:
        """The schedule with at most a tenth more, or what the receiver asks for, up to a day."""
        wanted = min(timedelta(seconds=asked or 0), timedelta(days=1)) if (asked or 0) < 1e6 else timedelta(days=1)
        earliest, latest = max(scheduled, wanted), max(scheduled * 1.1, wanted)
        assert delivery.next_attempt_at is not None
        assert earliest <= delivery.next_attempt_at - self.clock.now <= latest
        self.due[delivery.id] = (delivery.next_attempt_at, delivery.next_attempt_at)

    @precondition(lambda self: self.under_way)
    @rule()
    def dispatcher_dies(self) -> None:
        """After sending, before recording: nothing is lost, each is due again when its lease ends."""
        self.under_way.clear()

    @invariant()
    def what_was_promised_holds(self) -> None:
        with self.runtime.database.read() as session:
            webhook = queries.get(session, self.webhook_id)
            assert webhook is not None
            self.enabled = webhook.enabled
        assert all(len(bodies) == 1 for bodies in self.bodies.values()), "one id, one body, in every attempt"
        for delivery_id in self.due:
            state = self.delivery(delivery_id).state
            assert self.ended.get(delivery_id, state) == state, "an end never changes"
            if state != "pending":
                self.ended[delivery_id] = state


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
