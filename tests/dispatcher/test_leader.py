import asyncio
import time
from datetime import datetime, timedelta

import pytest

from service.actions import leaders
from service.api.deps.runtime import Runtime, utc_now
from service.db import session as sessions
from service.db.tables import Leader
from service.dispatcher.leader import Leadership
from tests.dispatcher.receivers import run, until
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stopwatch import Stopwatch

LEASE = timedelta(seconds=6)


def lead(runtime: Runtime, holder: str, *, after: float) -> bool:
    now = utc_now() + timedelta(seconds=after)
    with runtime.database.write() as session:
        return leaders.lead(session, "dispatcher", holder=holder, until=now + LEASE, now=now)


def leases_until(runtime: Runtime) -> datetime:
    with runtime.database.read() as session:
        return session.get_one(Leader, "dispatcher").until


def resign(runtime: Runtime, holder: str) -> None:
    with runtime.database.write() as session:
        leaders.resign(session, "dispatcher", holder=holder)


def test_one_of_two_leads_until_it_falls_silent(runtime: Runtime) -> None:
    assert lead(runtime, "a", after=0)
    assert not lead(runtime, "b", after=1)
    assert lead(runtime, "a", after=5)
    assert not lead(runtime, "b", after=8)
    assert lead(runtime, "b", after=12)
    assert not lead(runtime, "a", after=13)


def test_resigning_lets_another_lead_at_once(runtime: Runtime) -> None:
    assert lead(runtime, "a", after=0)
    resign(runtime, "b")
    assert not lead(runtime, "b", after=1)
    resign(runtime, "a")
    assert lead(runtime, "b", after=1)


def test_a_lost_lease_ends_the_leadership(runtime: Runtime) -> None:
    async def scenario() -> None:
        first, second = (Leadership(runtime.database, lease_seconds=LEASE.total_seconds()) for _ in range(2))
        assert await first.take()
        assert not await second.take()
        taken = leases_until(runtime)
        keeping = asyncio.create_task(first.keep(asyncio.Event()))
        await until(lambda: leases_until(runtime) > taken)
        assert not keeping.done()
        assert not await second.take()
        with runtime.database.write() as session:
            session.get_one(Leader, "dispatcher").holder = second.holder
            session.get_one(Leader, "dispatcher").until = utc_now() + LEASE
        with Stopwatch() as noticing:
            await asyncio.wait_for(keeping, PATIENCE_SECONDS)
        assert noticing.seconds < first.renew_seconds + 1

    run(scenario)


def test_an_absent_database_ends_the_leadership_when_the_lease_does(runtime: Runtime) -> None:
    async def scenario() -> None:
        leader = Leadership(runtime.database, lease_seconds=LEASE.total_seconds())
        began = time.monotonic()
        assert await leader.take()
        last = taken = time.monotonic()
        Leader.__table__.drop(runtime.database.engine)  # type: ignore[attr-defined] # declared as FromClause
        while (asked := time.monotonic()) and await leader.take():
            last = asked
            await asyncio.sleep(0.05)
        assert time.monotonic() - began > LEASE.total_seconds() - leader.renew_seconds
        assert last - taken < LEASE.total_seconds()

    run(scenario)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_busy_database_ends_no_dispatcher(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_BUSY_MILLISECONDS", 50)

    async def scenario() -> None:
        leader = Leadership(runtime.database, lease_seconds=6)
        assert await leader.take()
        with runtime.database.write():
            assert await leader.take()
            await leader.resign()

    run(scenario)
