"""The load on a real stack: two API processes, two workers, PostgreSQL."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from tests.load.client import Connection, Figures
from tests.load.phases import CLIENTS, Phase, hundreds, mixed, singles
from tests.support import processes
from tests.support.ports import HeldPort
from tests.support.redis_server import wait_until
from tests.support.stack import Stack, points, running

_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = ("serve", "dispatcher", "worker")
Pair = tuple[str, str]
_LOOKS = 40
Load = Callable[..., Awaitable[None]]
PHASES: dict[str, Load] = {"singles": singles, "hundreds": hundreds, "mixed": mixed}


@dataclass(frozen=True)
class Played:
    """A phase that was played, and what the export held afterwards."""

    name: str
    phase: Phase
    labels: int
    cpu: dict[str, float]  # seconds of processor time by role
    memory: list[dict[str, float]]  # MiB by role, as time went on
    lost: int
    duplicated: int
    unasked: int  # labels in the export that nobody sent

    def figures(self) -> dict[str, Any]:
        """What is printed and kept."""
        labels = self.phase.of("labels")
        return {
            "phase": self.name,
            "seconds": round(self.phase.seconds, 1),
            "labels": self.labels,
            "labels_per_second": round(self.labels / self.phase.seconds, 1),
            "p50_ms": labels.milliseconds(50),
            "p95_ms": labels.milliseconds(95),
            "p99_ms": labels.milliseconds(99),
            "lost": self.lost,
            "duplicated": self.duplicated,
            "unasked": self.unasked,
            "wrong": self.phase.wrong,
            "corrected": self.phase.corrected,
            "errors": sum(kind.errors for kind in self.phase.figures.values()),
            "kinds": {name: _figures_of(kind) for name, kind in self.phase.figures.items()},
            "cpu_seconds": self.cpu,
            "memory_mib": {role: [at[role] for at in self.memory[:: max(len(self.memory) // 8, 1)]] for role in _ROLES},
            "memory_growth": max(self._growth("serve"), self._growth("dispatcher")),
        }

    def _growth(self, role: str) -> float:
        """Memory in the last quarter over that in the second one, when everything has been used once."""
        quarter = max(len(self.memory) // 4, 1)
        second, last = self.memory[quarter : 2 * quarter] or self.memory, self.memory[-quarter:]
        return round(float(np.median([at[role] for at in last]) / np.median([at[role] for at in second])), 3)


def _figures_of(kind: Figures) -> dict[str, Any]:
    percentiles = {f"p{percent}_ms": kind.milliseconds(percent) for percent in (50, 95, 99)}
    return {"statuses": dict(kind.statuses), **percentiles}


@contextmanager
def running_stack(database_url: str) -> Iterator[tuple[Stack, list[str]]]:
    """A stack with a second API process, and the addresses of both."""
    with (
        HeldPort() as port,
        running("--workers", "2", database_url=database_url, log_level="warning", max_connections=4000) as stack,
    ):
        stack.add("serve", "--port", str(port))
        urls = [str(stack.client.http.base_url), f"http://127.0.0.1:{port}"]
        wait_until(lambda: _answers(urls[1]))
        yield stack, urls


def play(stack: Stack, urls: list[str], name: str, *, seconds: float, rows: int) -> Played:
    """Play one phase on a project of its own; the labels that were acknowledged are then looked for in the export."""
    project_id = stack.client.project(name=name, retraining={"automatic": name == "mixed"})
    assert stack.client.upload(project_id, points(rows)[0]).json()["created"] == rows
    phase = Phase(project_id, rows)
    memory, cpu = [_memory(stack.folder)], _seconds(stack.folder)
    asyncio.run(_load(phase, name, urls, stack.key, seconds=seconds, memory=memory, folder=stack.folder))
    used = {role: round(seconds - cpu[role], 1) for role, seconds in _seconds(stack.folder).items()}
    exported = list(_export(stack, project_id))
    checked = check(phase.acknowledged, phase.doubtful, exported)
    return Played(name, phase, len(phase.acknowledged), used, memory, *checked)


def check(
    acknowledged: Mapping[Pair, str], doubtful: Mapping[Pair, Collection[str]], exported: Sequence[tuple[str, str, str]]
) -> tuple[int, int, int]:
    """How many labels were lost, duplicated, and exported though nobody sent them.

    Args:
        acknowledged: The value that was last acknowledged, by example and annotator.
        doubtful: Values that were sent and not acknowledged: they may have been recorded.
        exported: Example, annotator and value of each label.
    """
    found = {row[:2]: row[2] for row in exported}
    lost = sum(key not in found for key in acknowledged)
    unasked = 0
    for key, value in found.items():
        unasked += value not in {acknowledged.get(key), *doubtful.get(key, ())}
    return lost, len(exported) - len(found), unasked


async def _load(
    phase: Phase, name: str, urls: list[str], key: str, *, seconds: float, memory: list[dict[str, float]], folder: Path
) -> None:
    connections = [Connection(urls[n % len(urls)], key) for n in range(CLIENTS)]

    async def look() -> None:
        while True:
            await asyncio.sleep(seconds / _LOOKS)
            memory.append(await asyncio.to_thread(_memory, folder))

    looking = asyncio.create_task(look())
    try:
        await PHASES[name](phase, connections, seconds=seconds)
    finally:
        looking.cancel()
        for connection in connections:
            connection.close()


def _export(stack: Stack, project_id: str) -> Iterator[tuple[str, str, str]]:
    path, wanted = f"/v1/projects/{project_id}/labels", {"Accept": "application/x-ndjson"}
    with stack.client.http.stream("GET", path, headers=wanted) as answer:
        assert answer.status_code == httpx.codes.OK
        for line in answer.iter_lines():
            row = orjson.loads(line)
            yield row["example_id"], row["annotator"], row["label"]


def _pids(folder: Path) -> list[tuple[str, int]]:
    """The service's processes, with their roles."""
    return [(role, found.pid) for found in processes.of_folder(folder) for role in _ROLES if role in found.words]


def _memory(folder: Path) -> dict[str, float]:
    """Resident MiB of the service's processes, by role, work-horses with their workers."""
    found: dict[str, float] = dict.fromkeys(_ROLES, 0.0)
    for role, pid in _pids(folder):
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # a work-horse that has just ended
        found[role] += round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    return found


def _seconds(folder: Path) -> dict[str, float]:
    """Processor time by role, work-horses that have ended with their workers; of the client too."""
    used = dict.fromkeys(_ROLES, 0.0)
    for role, pid in _pids(folder):
        with suppress(FileNotFoundError, ProcessLookupError):  # a work-horse that has just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[role] += sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return {**used, "client": time.process_time()}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
