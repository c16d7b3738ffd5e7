"""Sending webhooks: due deliveries are claimed, attempted side by side, and what came of them is recorded."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from importlib.metadata import version

from sqlalchemy.exc import OperationalError

from service.actions import deliveries, program_answers
from service.actions.deliveries import Outcome, Parcel
from service.api.deps.runtime import Runtime, utc_now
from service.catalog.events import REQUEST
from service.dispatcher.timers import pause, succeeds
from service.errors import UnavailableError
from service.security import signatures
from service.security.outbound import EXCERPT_BYTES, DeliveryError, GuardedTransport
from service.security.sealing import SealError
from service.telemetry import logger
from service.tracing.context import HEADER, Span, span

STOP_SECONDS = 3.5  # for attempts under way; then they are cut off
_MOST_AT_ONCE = 200
_AFTER_FAULT_SECONDS = 5.0
_RECORDING = timedelta(seconds=30)  # between an attempt and the next, which would send it again
_FIRST_PAUSE_SECONDS = 0.25
_log = logger(__name__)


class Sender:
    """Sends what is due, at most so many at once to one endpoint, so that a dead one delays no other.

    Args:
        runtime: The stores and settings.
        transport: How receivers are reached.
    """

    def __init__(self, runtime: Runtime, transport: GuardedTransport) -> None:
        self._runtime = runtime
        self._transport = transport
        self._under_way: dict[asyncio.Task[None], Parcel] = {}
        self._wake = asyncio.Event()
        self._user_agent = f"Gleaner/{version('gleaner')}"

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; then wait a little for the attempts under way, and give the rest back."""
        waiter = asyncio.create_task(self._wake_at(stop))
        while not stop.is_set():
            self._wake.clear()
            if await succeeds("claim_deliveries", self._start_due()):
                await self._pause()
            else:
                await pause(stop, _AFTER_FAULT_SECONDS)
        await waiter
        await self._wind_up()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _pause(self) -> None:
        """Until the next tick, or the end of an attempt: its endpoint has room again."""
        try:
            await asyncio.wait_for(self._wake.wait(), self._runtime.settings.dispatcher_tick_seconds)
        except TimeoutError:
            return

    async def _start_due(self) -> None:
        room = _MOST_AT_ONCE - len(self._under_way)
        if room <= 0:
            return
        busy = Counter(parcel.webhook_id for parcel in self._under_way.values())
        for parcel in await asyncio.to_thread(self._claim, busy, room):
            task = asyncio.create_task(self._attempt(parcel))
            self._under_way[task] = parcel
            task.add_done_callback(self._ended)

    def _claim(self, busy: Counter[str], room: int) -> list[Parcel]:
        now = utc_now()
        with self._runtime.database.read() as session:
            if not deliveries.any_due(session, now=now):
                return []
        settings = self._runtime.settings
        with self._runtime.database.write() as session:
            return deliveries.claim(
                session,
                busy=busy,
                per_endpoint=settings.webhook_concurrency,
                limit=room,
                lease=timedelta(seconds=settings.webhook_timeout_seconds) + _RECORDING,
                now=now,
            )

    async def _attempt(self, parcel: Parcel) -> None:
        with span(f"send {parcel.event}", "client", parent=parcel.traceparent) as sending:
            outcome = await self._send(parcel, sending)
            told = {"delivery_id": parcel.delivery_id, "webhook_id": parcel.webhook_id}
            numbers = {"attempt": parcel.attempt, "status": outcome.status, "ms": outcome.duration_ms}
            sending.tell(None, **told, **numbers)
            _log.info("delivery", **told, **numbers, trace_id=sending.trace_id)
        await self._keep(parcel, outcome)

    async def _keep(self, parcel: Parcel, outcome: Outcome) -> None:
        """Record what came of an attempt; while the database is away, for as long as nobody else attempts it."""
        until, wait = time.monotonic() + _RECORDING.total_seconds() / 2, _FIRST_PAUSE_SECONDS
        while True:
            try:
                await asyncio.to_thread(self._record, parcel, outcome)
            except (OperationalError, UnavailableError):
                if time.monotonic() + wait > until:
                    raise
                await asyncio.sleep(wait)
                wait *= 2
            else:
                return

    async def _send(self, parcel: Parcel, sending: Span) -> Outcome:
        at, started = utc_now(), time.monotonic()
        try:
            reply = await self._transport.post(
                parcel.url,
                headers={**self._headers(parcel, timestamp=int(at.timestamp())), HEADER: sending.traceparent},
                body=parcel.body,
                deadline_seconds=self._runtime.settings.webhook_timeout_seconds,
                most_bytes=program_answers.MOST_BYTES if parcel.event == REQUEST else EXCERPT_BYTES,
            )
        except (DeliveryError, SealError) as error:
            timed_out = isinstance(error, DeliveryError) and error.kind == "timeout"
            took = round((time.monotonic() - started) * 1000)
            return Outcome(at=at, duration_ms=took, error=str(error), timed_out=timed_out)
        return Outcome(
            at=at,
            duration_ms=round(reply.duration_ms),
            status=reply.status,
            excerpt=reply.excerpt,
            retry_after_seconds=reply.retry_after_seconds,
            body=reply.body if reply.is_whole else None,
        )

    def _headers(self, parcel: Parcel, *, timestamp: int) -> dict[str, str]:
        secrets = [self._runtime.sealer.open(sealed) for sealed in parcel.secrets]
        return {
            "content-type": "application/json",
            "user-agent": self._user_agent,
            "webhook-id": parcel.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures.sign(secrets, parcel.delivery_id, timestamp=timestamp, body=parcel.body),
        }

    def _record(self, parcel: Parcel, outcome: Outcome) -> None:
        with self._runtime.write() as session:
            if parcel.event == REQUEST:
                share = self._runtime.settings.jobs_in_queue_per_project
                program_answers.record(session, parcel, outcome, now=utc_now(), share=share)
            else:
                deliveries.record(session, parcel, outcome, now=utc_now())

    def _ended(self, task: asyncio.Task[None]) -> None:
        parcel = self._under_way.pop(task)
        self._wake.set()
        if not task.cancelled() and (fault := task.exception()) is not None:
            # Nothing was recorded: the delivery is due again when its lease ends.
            _log.error("delivery_not_recorded", delivery_id=parcel.delivery_id, exc_info=fault)

    async def _wind_up(self) -> None:
        under_way = dict(self._under_way)
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            parcels = [under_way[task] for task in late]
            await succeeds("give_back_deliveries", asyncio.to_thread(self._give_back, parcels))

    def _give_back(self, parcels: list[Parcel]) -> None:
        with self._runtime.database.write() as session:
            deliveries.give_back(session, parcels, now=utc_now())
