"""The phases of the load: single labels alone, hundreds alone, and everything mixed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from tests.load.client import Connection, Figures, labels_body
from tests.support.stack import CLASSES

CLIENTS = 64
LABELS_PER_SECOND = 220
QUERIES_PER_SECOND = 3.3
READS_PER_SECOND = 20
_CORRECTED_EVERY = 20
_POLL_SECONDS = 0.25

Act = Callable[[Connection, float], Awaitable[None]]


@dataclass
class Phase:
    """One project under load.

    Args:
        project_id: Its project.
        rows: How many examples the project has.
    """

    project_id: str
    rows: int
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)
    doubtful: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # sent, and not acknowledged
    corrected: int = 0
    wrong: int = 0  # answers that say something else than what was done
    figures: dict[str, Figures] = field(default_factory=dict)
    seconds: float = 0.0
    _sent: int = 0
    _reads: int = 0
    _last: dict[Connection, tuple[str, str, str]] = field(default_factory=dict)

    def of(self, kind: str) -> Figures:
        """The figures of one kind of call."""
        return self.figures.setdefault(kind, Figures())

    async def label(self, connection: Connection, due: float, *, count: int = 1) -> None:
        """Send labels that nobody sent before: annotators label the pool one after the other."""
        numbers = range(self._sent, self._sent + count)
        self._sent += count
        rows = [(f"e{n % self.rows}", f"a{n // self.rows}", str(n * 7 % CLASSES)) for n in numbers]
        if await self._send(connection, due, rows, done="created"):
            self._last[connection] = rows[-1]

    async def label_or_correct(self, connection: Connection, due: float) -> None:
        """Send a label; now and then another value for the one before, which then is the one that counts."""
        if connection not in self._last or self.of("labels").statuses.total() % _CORRECTED_EVERY:
            await self.label(connection, due)
            return
        example, annotator, value = self._last.pop(connection)
        if await self._send(connection, due, [(example, annotator, str((int(value) + 1) % CLASSES))], done="updated"):
            self.corrected += 1

    async def _send(self, connection: Connection, due: float, rows: list[tuple[str, str, str]], *, done: str) -> bool:
        path = f"/v1/projects/{self.project_id}/labels"
        content = await connection.timed(self.of("labels"), "POST", path, labels_body(rows), due=due)
        if content:
            counts = orjson.loads(content)
            self.wrong += (counts[done], counts["received"], counts["rejected"]) != (len(rows), len(rows), 0)
            self.acknowledged.update(((example, annotator), value) for example, annotator, value in rows)
            return True
        for example, annotator, value in rows:
            self.doubtful.setdefault((example, annotator), set()).add(value)
        return False

    async def batch(self, connection: Connection, due: float) -> None:
        """Ask for a batch, wait for it and read it."""
        body = orjson.dumps({"k": 10, "lease_seconds": 30})
        content = await connection.timed(
            self.of("queries"), "POST", f"/v1/projects/{self.project_id}/queries", body, due=due
        )
        if content:
            job_id = orjson.loads(content)["id"]
            until = time.monotonic() + 30
            path = f"/v1/jobs/{job_id}/batch"
            while b'"items"' not in await connection.timed(self.of("batch reads"), "GET", path):
                if time.monotonic() > until:
                    self.of("batches").add(504, time.monotonic() - due)
                    return
                await asyncio.sleep(_POLL_SECONDS)
            self.of("batches").add(200, time.monotonic() - due)

    async def read(self, connection: Connection, due: float) -> None:
        """Read the project, or a page of its labels, or its progress."""
        paths = ("", "/labels?page_size=50", "/jobs?page_size=10")
        self._reads += 1
        path = f"/v1/projects/{self.project_id}{paths[self._reads % len(paths)]}"
        await connection.timed(self.of("reads"), "GET", path, due=due)

    async def run(self, connections: list[Connection], act: Act, *, seconds: float, rate: float | None = None) -> None:
        """Let each connection act until the time is over, as fast as it can or together at `rate` a second."""
        began = time.monotonic()
        period = len(connections) / rate if rate else 0.0

        async def client(number: int) -> None:
            due = began + period * number / len(connections)
            while max(due, time.monotonic()) < began + seconds:  # calls that could not leave in time are not made up
                await asyncio.sleep(max(due - time.monotonic(), 0.0))
                await act(connections[number], due)
                due = due + period if rate else time.monotonic()

        await asyncio.gather(*(client(number) for number in range(len(connections))))
        self.seconds = time.monotonic() - began


async def singles(phase: Phase, connections: list[Connection], *, seconds: float) -> None:
    """Single labels, as fast as they are answered."""
    await phase.run(connections, phase.label, seconds=seconds)


async def hundreds(phase: Phase, connections: list[Connection], *, seconds: float) -> None:
    """Labels in hundreds, as fast as they are answered."""

    async def act(connection: Connection, due: float) -> None:
        await phase.label(connection, due, count=100)

    await phase.run(connections, act, seconds=seconds)


async def mixed(phase: Phase, connections: list[Connection], *, seconds: float) -> None:
    """Single labels, batches and reads at a steady rate; a call that leaves late is late from when it was due."""
    cut, end = len(connections) - len(connections) // 4, len(connections) - len(connections) // 8
    await asyncio.gather(
        phase.run(connections[:cut], phase.label_or_correct, seconds=seconds, rate=LABELS_PER_SECOND),
        phase.run(connections[cut:end], phase.batch, seconds=seconds, rate=QUERIES_PER_SECOND),
        phase.run(connections[end:], phase.read, seconds=seconds, rate=READS_PER_SECOND),
    )
