"""A dead receiver delays no other: one that accepts and never answers, one that nobody routes to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from service.api.deps.runtime import Runtime
from tests.dispatcher.receivers import Receiver, receiver, run, send_tests, sending, subscribe, until
from tests.support.runtime import make_runtime
from tests.support.stopwatch import Stopwatch

LATEST_SECONDS = 1.0
UNROUTABLE = "http://198.51.100.1/hook"  # kept for documentation: no answer, not even a refusal


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(
        tmp_path,
        webhook_allow="127.0.0.0/8,198.51.100.0/24",
        dispatcher_tick_seconds=0.1,
        webhook_timeout_seconds=8.0,
    )
    yield made
    made.database.close()


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A server that accepts every connection and says nothing."""
    over = asyncio.Event()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        over.set()
        server.close()


def took(receiver: Receiver, count: int) -> bool:
    return len(receiver.received) == count


def test_dead_receivers_delay_no_other(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.dispatcher.deliveries.STOP_SECONDS", 0.1)

    async def scenario() -> None:
        async with black_hole() as hole, receiver() as quick:
            dead = [subscribe(runtime, url)[0] for url in (hole, UNROUTABLE)]
            living, _ = subscribe(runtime, quick.url)
            for webhook_id in dead:
                send_tests(runtime, webhook_id, 40)
            async with sending(runtime):
                await asyncio.sleep(0.5)
                for number in range(1, 6):
                    with Stopwatch() as delivery:
                        send_tests(runtime, living)
                        await until(partial(took, quick, number))
                    assert delivery.seconds < LATEST_SECONDS

    run(scenario)
