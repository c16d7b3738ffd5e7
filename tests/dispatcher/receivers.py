"""Receivers of webhooks on loopback, and a dispatcher's sender to call them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import update

from service.actions import webhooks
from service.actions.keys import Caller
from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import Delivery
from service.dispatcher.deliveries import Sender
from service.security.outbound import GuardedTransport
from tests.support.redis_server import PATIENCE_SECONDS

ADMIN = Caller("key_1", "key_1", frozenset({"admin"}), None, None, use_recorded=True)


@dataclass(frozen=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers each request with the next of `answers` (the last again and again), once it may `go` on.

    `say` gives the body of an answer, and may give another status.
    """

    answers: list[str]
    go: asyncio.Event = field(default_factory=asyncio.Event)
    say: Callable[[Received, str], tuple[str, bytes]] = lambda _, status: (status, b"ok")
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self.connections.remove(task)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(headers, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status, said = self.say(self.received[-1], answer)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said)
        await writer.drain()


@asynccontextmanager
async def receiver(*answers: str, silent: bool = False) -> AsyncIterator[Receiver]:
    """A receiver at work; a `silent` one takes requests and answers when it is told to `go` on."""
    made = Receiver(list(answers) or ["204 No Content"])
    if not silent:
        made.go.set()
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield made
    finally:
        server.close()
        for connection in made.connections:
            connection.cancel()
        await asyncio.gather(*made.connections)


@asynccontextmanager
async def sending(runtime: Runtime) -> AsyncIterator[None]:
    """A sender at work; it is stopped at the end."""
    transport = GuardedTransport(runtime.guard)
    stop = asyncio.Event()
    task = asyncio.create_task(Sender(runtime, transport).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        transport.close()


async def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def subscribe(runtime: Runtime, url: str, *names: str, project_id: str | None = None) -> tuple[str, str]:
    """A new webhook's id and secret."""
    with runtime.database.write() as session:
        webhook, secret = webhooks.create(
            session,
            ADMIN,
            url=url,
            event_names=list(names) or ["training.succeeded"],
            project_id=project_id,
            sealer=runtime.sealer,
            now=utc_now(),
        )
    return webhook.id, secret


def send_tests(runtime: Runtime, webhook_id: str, count: int = 1) -> list[str]:
    """Write test deliveries; their ids."""
    with runtime.database.write() as session:
        sent = [webhooks.send_test(session, ADMIN, webhook_id, now=utc_now()) for _ in range(count)]
    return [view.delivery.id for view in sent]


def logged(runtime: Runtime, webhook_id: str) -> list[webhooks.DeliveryView]:
    """The webhook's deliveries, newest first."""
    with runtime.database.read() as session:
        return list(webhooks.deliveries(session, ADMIN, webhook_id, before=None, size=100))


def attempted(runtime: Runtime, webhook_id: str, count: int) -> Callable[[], bool]:
    """Whether `count` attempts were recorded."""
    return lambda: sum(len(view.attempts) for view in logged(runtime, webhook_id)) >= count


def hurry(runtime: Runtime) -> None:
    """Do not wait for the schedule."""
    with runtime.database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "pending").values(next_attempt_at=utc_now()))


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await scenario()

    asyncio.run(bounded())
