"""The load on a real stack: two API processes, two workers, PostgreSQL."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.load.client import Connection
from tests.load.phases import CLIENTS, Phase, hundreds, mixed, singles
from tests.support import processes
from tests.support.redis_server import wait_until
from tests.support.stack import PATIENCE_SECONDS, Stack, points, running

_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = ("serve", "dispatcher", "worker")
Load = Callable[..., Awaitable[None]]
PHASES: dict[str, Load] = {"singles": singles, "hundreds": hundreds, "mixed": mixed}


@dataclass(frozen=True)
class Played:
    """A phase that was played, and what the export held afterwards."""

    name: str
    phase: Phase
    labels: int
    cpu_seconds: float  # of the API processes
    memory: dict[str, list[float]]  # MiB by role: at the start, after a quarter of the time, at the end
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
            "api_cpu_ms_per_request": round(1000 * self.cpu_seconds / max(labels.statuses.total(), 1), 2),
            "lost": self.lost,
            "duplicated": self.duplicated,
            "unasked": self.unasked,
            "errors": sum(kind.errors for kind in self.phase.figures.values()),
            "statuses": {name: dict(kind.statuses) for name, kind in self.phase.figures.items()},
            "p99_ms_by_kind": {name: kind.milliseconds(99) for name, kind in self.phase.figures.items()},
            "memory_mib": self.memory,
        }


@contextmanager
def running_stack(database_url: str) -> Iterator[tuple[Stack, list[str]]]:
    """A stack with a second API process, and the addresses of both."""
    with running("--workers", "2", database_url=database_url, log_level="warning", max_connections=4000) as stack:
        port = _free_port()
        stack.add("serve", "--port", str(port))
        urls = [str(stack.client.http.base_url), f"http://127.0.0.1:{port}"]
        wait_until(lambda: _answers(urls[1]), PATIENCE_SECONDS)
        yield stack, urls


def play(stack: Stack, urls: list[str], name: str, *, seconds: float, rows: int) -> Played:
    """Play one phase on a project of its own; the labels that were acknowledged are then looked for in the export."""
    project_id = stack.client.project(name=name, retraining={"automatic": name == "mixed"})
    assert stack.client.upload(project_id, points(rows)[0]).json()["created"] == rows
    phase = Phase(project_id, rows)
    memory, cpu = [_memory(stack.folder)], _api_seconds(stack.folder)
    asyncio.run(_load(phase, name, urls, _key(stack), seconds=seconds, memory=memory, folder=stack.folder))
    cpu = _api_seconds(stack.folder) - cpu
    memory.append(_memory(stack.folder))
    by_role = {role: [at[role] for at in memory] for role in _ROLES}
    exported = _export(stack, project_id)
    lost = sum(exported.get((*key, value), 0) == 0 for key, value in phase.acknowledged.items())
    seen = Counter(row[:2] for row in exported.elements())
    unasked = sum(key not in phase.acknowledged and key not in phase.doubtful for key in seen)
    duplicated = sum(count - 1 for count in seen.values())
    return Played(name, phase, len(phase.acknowledged), cpu, by_role, lost, duplicated, unasked)


async def _load(
    phase: Phase, name: str, urls: list[str], key: str, *, seconds: float, memory: list[dict[str, float]], folder: Path
) -> None:
    connections = [Connection(urls[n % len(urls)], key) for n in range(CLIENTS)]

    async def look() -> None:
        await asyncio.sleep(seconds / 4)
        memory.append(await asyncio.to_thread(_memory, folder))

    try:
        await asyncio.gather(PHASES[name](phase, connections, seconds=seconds), look())
    finally:
        for connection in connections:
            connection.close()


def _export(stack: Stack, project_id: str) -> Counter[tuple[str, str, str]]:
    answer = stack.client.http.get(f"/v1/projects/{project_id}/labels", headers={"Accept": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    rows = httpx.Response(200, text=f"[{','.join(answer.text.splitlines())}]").json()
    return Counter((row["example_id"], row["annotator"], row["label"]) for row in rows)


def _memory(folder: Path) -> dict[str, float]:
    """Resident MiB of the service's processes, by role, work-horses with their workers."""
    found: dict[str, float] = dict.fromkeys(_ROLES, 0.0)
    pids = [(role, pid) for role in _ROLES for pid in processes.role(folder, role)]
    for role, pid in [*pids, *(("worker", pid) for pid in processes.horses(folder))]:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # a work-horse that has just ended
        found[role] += round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    return found


def _api_seconds(folder: Path) -> float:
    """Processor time of the API processes."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes.role(folder, "serve")
    )
    return sum(int(field[11]) + int(field[12]) for field in fields) / _TICKS


def _key(stack: Stack) -> str:
    return (stack.folder / "admin-key").read_text().strip()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
