import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text
from standardwebhooks import Webhook as Verifier

from service.actions import deliveries, webhooks
from service.actions.deliveries import RETRIES, Outcome, Parcel
from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import Delivery, Webhook
from service.dispatcher import deliveries as sender
from service.security.sealing import Sealer
from tests.dispatcher.receivers import (
    ADMIN,
    attempted,
    hurry,
    logged,
    receiver,
    run,
    send_tests,
    sending,
    subscribe,
    until,
)
from tests.support.runtime import make_runtime
from tests.support.stopwatch import Stopwatch

LEASE = timedelta(seconds=60)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(
        tmp_path,
        webhook_allow="127.0.0.0/8",
        dispatcher_tick_seconds=0.02,
        webhook_concurrency=2,
    )
    yield made
    made.database.close()


def claim(runtime: Runtime, now: datetime, busy: dict[str, int] | None = None) -> list[Parcel]:
    with runtime.database.write() as session:
        return deliveries.claim(session, busy=busy or {}, per_endpoint=2, limit=10, lease=LEASE, now=now)


def record(runtime: Runtime, parcel: Parcel, now: datetime, *, status: int = 500, retry_after: float = 0.0) -> None:
    outcome = Outcome(at=now, duration_ms=1, status=status, retry_after_seconds=retry_after)
    with runtime.database.write() as session:
        deliveries.record(session, parcel, outcome, now=now)


def one(runtime: Runtime, delivery_id: str) -> Delivery:
    with runtime.database.read() as session:
        return session.get_one(Delivery, delivery_id)


def hook(runtime: Runtime, webhook_id: str) -> Webhook:
    with runtime.database.read() as session:
        return session.get_one(Webhook, webhook_id)


def test_a_delivery_is_signed_and_tried_again_after_a_500(runtime: Runtime) -> None:
    async def scenario() -> None:
        async with receiver("500 Oops", "200 OK") as server:
            webhook_id, old_secret = subscribe(runtime, server.url)
            with runtime.database.write() as session:
                _, secret = webhooks.rotate_secret(session, ADMIN, webhook_id, sealer=runtime.sealer, now=utc_now())
            (delivery_id,) = send_tests(runtime, webhook_id)
            async with sending(runtime):
                await until(attempted(runtime, webhook_id, 1))
                waiting = one(runtime, delivery_id)
                assert waiting.next_attempt_at is not None
                (attempt,) = logged(runtime, webhook_id)[0].attempts
                assert (waiting.next_attempt_at - attempt.at).total_seconds() >= 5
                assert (waiting.next_attempt_at - utc_now()).total_seconds() < 6
                hurry(runtime)
                await until(attempted(runtime, webhook_id, 2))
            for request in server.received:
                for key in (secret, old_secret):
                    body = Verifier(key).verify(request.body, request.headers)
                    assert body["type"] == "webhook.test"
                assert request.headers["webhook-id"] == delivery_id
                assert request.headers["content-type"] == "application/json"
                assert request.headers["user-agent"].startswith("Gleaner/")
            assert server.received[0].body == server.received[1].body
            (view,) = logged(runtime, webhook_id)
            assert [attempt.status for attempt in view.attempts] == [500, 200]
            assert view.attempts[0].excerpt == "ok"
            assert (view.delivery.state, view.delivery.next_attempt_at) == ("succeeded", None)

    run(scenario)


def test_410_disables_at_once_and_tells_the_others(runtime: Runtime) -> None:
    async def scenario() -> None:
        async with receiver("410 Gone") as gone, receiver() as other:
            gone_id, _ = subscribe(runtime, gone.url, "webhook.disabled")
            other_id, _ = subscribe(runtime, other.url, "webhook.disabled")
            first, *held = send_tests(runtime, gone_id, 5)
            async with sending(runtime):
                await until(attempted(runtime, other_id, 1))
            assert hook(runtime, gone_id).disabled_reason == "The receiver answered 410 Gone."
            assert one(runtime, first).state == "failed"
            assert (one(runtime, held[-1]).state, one(runtime, held[-1]).next_attempt_at) == ("pending", None)
            body = orjson.loads(other.received[0].body)
            assert body["type"] == "webhook.disabled"
            assert body["data"]["webhook"] == {"id": gone_id, "reason": "The receiver answered 410 Gone."}

    run(scenario)


def test_a_slow_receiver_delays_no_other_and_gets_no_more_than_its_share(runtime: Runtime) -> None:
    async def scenario() -> None:
        async with receiver(silent=True) as slow, receiver() as quick:
            slow_id, _ = subscribe(runtime, slow.url)
            quick_id, _ = subscribe(runtime, quick.url)
            send_tests(runtime, slow_id, 8)
            send_tests(runtime, quick_id, 8)
            async with sending(runtime):
                await until(attempted(runtime, quick_id, 8))
                await until(lambda: slow.at_once == 2)
                slow.go.set()
                await until(attempted(runtime, slow_id, 8))
            assert slow.most_at_once == 2
            sequences = [orjson.loads(request.body)["sequence"] for request in quick.received]
            assert sorted(sequences) == list(range(1, 9))

    run(scenario)


def test_what_keeps_an_answer_from_coming_is_logged(runtime: Runtime) -> None:
    async def scenario() -> None:
        hasty = replace(runtime, settings=runtime.settings.model_copy(update={"webhook_timeout_seconds": 2.0}))
        async with receiver(silent=True) as dead:
            dead_id, _ = subscribe(runtime, dead.url)
            refused_id, _ = subscribe(runtime, "http://127.0.0.1:9/")
            unsealed_id, _ = subscribe(runtime, dead.url)
            with runtime.database.write() as session:
                session.get_one(Webhook, unsealed_id).secret = Sealer("another").seal("whsec_")
            ids = (dead_id, refused_id, unsealed_id)
            for webhook_id in ids:
                send_tests(runtime, webhook_id)
            async with sending(hasty):
                for webhook_id in ids:
                    await until(attempted(runtime, webhook_id, 1))
            errors = [logged(runtime, webhook_id)[0].attempts[0].error or "" for webhook_id in ids]
            assert errors[0].startswith("timeout: ")
            assert errors[1].startswith("connect: ")
            assert "cannot be opened" in errors[2]

    run(scenario)


def test_stopping_gives_an_interrupted_attempt_back(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "STOP_SECONDS", 0.1)

    async def scenario() -> None:
        async with receiver(silent=True) as slow:
            webhook_id, _ = subscribe(runtime, slow.url)
            (delivery_id,) = send_tests(runtime, webhook_id)
            with Stopwatch() as stopping:
                async with sending(runtime):
                    await until(lambda: slow.at_once == 1)
                    stopping.start()
            assert stopping.seconds < 1
            delivery = one(runtime, delivery_id)
            assert (delivery.state, delivery.attempt) == ("pending", 0)
            assert delivery.next_attempt_at is not None
            assert delivery.next_attempt_at <= utc_now()

    run(scenario)


def test_a_claim_ends_with_its_lease_and_is_fenced(runtime: Runtime) -> None:
    now = utc_now()
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    (delivery_id,) = send_tests(runtime, webhook_id)
    (first,) = claim(runtime, utc_now())
    assert claim(runtime, now) == []
    later = now + LEASE + timedelta(seconds=1)
    (second,) = claim(runtime, later)
    assert (first.attempt, second.attempt, second.body) == (1, 2, first.body)
    record(runtime, first, later, status=410)
    assert one(runtime, delivery_id).state == "pending"
    record(runtime, second, later, status=204)
    assert one(runtime, delivery_id).state == "succeeded"


def test_attempts_that_never_come_back_come_to_an_end(runtime: Runtime) -> None:
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    (delivery_id,) = send_tests(runtime, webhook_id)
    now = utc_now()
    for _ in range(len(RETRIES) + 1):
        assert len(claim(runtime, now)) == 1
        now += LEASE + timedelta(seconds=1)
    assert claim(runtime, now) == []
    assert one(runtime, delivery_id).state == "failed"


def test_a_claim_leaves_full_endpoints_alone(runtime: Runtime) -> None:
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    other_id, _ = subscribe(runtime, "https://93.184.215.14/")
    send_tests(runtime, webhook_id, 5)
    send_tests(runtime, other_id, 1)
    claimed = claim(runtime, utc_now(), {webhook_id: 1})
    assert sorted(parcel.webhook_id for parcel in claimed) == sorted([webhook_id, other_id])
    assert claim(runtime, utc_now(), {webhook_id: 2, other_id: 1}) == []


def test_retry_after_is_obeyed_within_bounds(runtime: Runtime) -> None:
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    waits = {}
    for asked in (1.0, 3600.0, 1e9):
        (delivery_id,) = send_tests(runtime, webhook_id)
        now = utc_now()
        (parcel,) = claim(runtime, now)
        record(runtime, parcel, now, status=503, retry_after=asked)
        following = one(runtime, delivery_id).next_attempt_at
        assert following is not None
        waits[asked] = (following - now).total_seconds()
    assert 5 <= waits[1.0] <= 5.5
    assert waits[3600.0] == 3600
    assert waits[1e9] == 86_400


@pytest.mark.parametrize("alive", [True, False])
def test_after_the_last_retry_the_delivery_fails_and_a_dead_webhook_is_disabled(
    runtime: Runtime, *, alive: bool
) -> None:
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    (delivery_id,) = send_tests(runtime, webhook_id)
    now = utc_now()
    waits: list[float] = []
    for _ in range(len(RETRIES) + 1):
        (parcel,) = claim(runtime, now)
        record(runtime, parcel, now)
        following = one(runtime, delivery_id).next_attempt_at
        if following is not None:
            waits.append((following - now) / RETRIES[len(waits)])
            now = following
        if alive and len(waits) == 3:
            send_tests(runtime, webhook_id)
            (other,) = claim(runtime, utc_now())
            record(runtime, other, now, status=200)
    assert len(waits) == len(RETRIES)
    assert all(1 <= wait <= 1.1 for wait in waits)
    assert len(set(waits)) > 1, "no jitter"
    assert one(runtime, delivery_id).state == "failed"
    assert hook(runtime, webhook_id).enabled is alive


def test_ended_deliveries_are_forgotten_with_their_attempts(runtime: Runtime) -> None:
    webhook_id, _ = subscribe(runtime, "https://93.184.215.14/")
    send_tests(runtime, webhook_id, 2)
    first, _ = claim(runtime, utc_now())
    record(runtime, first, utc_now(), status=200)
    with runtime.database.write() as session:
        assert deliveries.forget(session, before=utc_now() - timedelta(days=1), limit=9) == 0
        assert deliveries.forget(session, before=utc_now() + timedelta(seconds=1), limit=9) == 1
    assert len(logged(runtime, webhook_id)) == 1


def test_an_attempt_that_cannot_be_recorded_now_is_recorded_soon_and_not_repeated(runtime: Runtime) -> None:
    def rename(old: str, new: str) -> None:
        with runtime.database.write() as session:
            session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    async def scenario() -> None:
        async with receiver("204 No Content") as server:
            webhook_id, _ = subscribe(runtime, server.url)
            send_tests(runtime, webhook_id)
            rename("delivery_attempts", "away")
            async with sending(runtime):
                await until(lambda: bool(server.received))
                await asyncio.sleep(0.3)
                rename("away", "delivery_attempts")
                await until(attempted(runtime, webhook_id, 1))
            assert len(server.received) == 1

    run(scenario)
