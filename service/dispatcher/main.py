"""The dispatcher process: it leads, or waits to lead."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

from service.api.deps.runtime import Runtime, open_runtime
from service.dispatcher.deliveries import Sender
from service.dispatcher.leader import Leadership
from service.dispatcher.timers import Task, pause, repeat, tasks
from service.security.outbound import GuardedTransport
from service.settings import Settings
from service.telemetry import configure_logging, logger
from service.tracing.starting import start

_THREADS = 16
_log = logger(__name__)


def run(settings: Settings) -> None:
    """Dispatch until SIGTERM or SIGINT."""
    configure_logging(settings.log_level, role="dispatcher")
    start("dispatcher")
    runtime = open_runtime(settings, connections=settings.dispatcher_connections)
    try:
        asyncio.run(_until_signalled(runtime))
    finally:
        runtime.database.close()


async def _until_signalled(runtime: Runtime) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="dispatcher"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await dispatch(runtime, stop)


async def dispatch(runtime: Runtime, stop: asyncio.Event) -> None:
    """Work whenever this process leads, until `stop`."""
    leadership = Leadership(runtime.database, lease_seconds=runtime.settings.leader_lease_seconds)
    transport = GuardedTransport(runtime.guard)
    timers = tasks(runtime)  # once, as some remember what they saw
    try:
        while not stop.is_set():
            if await leadership.take():
                _log.info("leading", holder=leadership.holder)
                await _lead(runtime, timers, leadership, transport, stop=stop)
            else:
                await pause(stop, leadership.renew_seconds)
    finally:
        await leadership.resign()
        transport.close()


async def _lead(
    runtime: Runtime,
    timers: tuple[Task, ...],
    leadership: Leadership,
    transport: GuardedTransport,
    *,
    stop: asyncio.Event,
) -> None:
    """Do everything until `stop`, or until the lease is lost."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(Sender(runtime, transport).run(over))
        for task in timers:
            group.create_task(repeat(task, runtime, over))
        await leadership.keep(stop)
        over.set()
