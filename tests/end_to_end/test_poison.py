"""Jobs that kill, exhaust or outlast the process that runs them, while others go on: real processes."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.stack import Client, Stack, filled, running, slow_training

ATTEMPTS = 3
OTHERS = 100
QUERY_SECONDS = 15  # the others may wait for a core


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Of all tests here."""
    limits: dict[str, Any] = {"job_timeout_seconds": 15, "job_memory_mib": 64, "query_timeout_seconds": QUERY_SECONDS}
    with running(job_max_attempts=ATTEMPTS, job_lease_seconds=600, **limits) as made:
        yield made


def horse_of(stack: Stack, job_id: str) -> int | None:
    """The pid of the work-horse that has the job, which is part of its token."""
    with sqlite3.connect(stack.folder / "gleaner.sqlite3") as database:
        (token,) = database.execute("SELECT token FROM jobs WHERE id = ?", [job_id]).fetchone()
    database.close()
    return int(token.split(".")[1]) if token else None


def has_begun(pid: int) -> bool:
    """Whether a work-horse not only has a job but is at it: its time runs when it may be interrupted."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)
    return False


def kill_whenever_it_runs(stack: Stack, job_id: str, number: signal.Signals) -> list[float]:
    """End each horse that takes the job, until the job has ended; when each was ended."""
    killed: dict[int, float] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while stack.client.job(job_id)["state"] in {"queued", "running"}:
        assert time.monotonic() < deadline, stack.told()
        pid = horse_of(stack, job_id)
        if pid is not None and pid not in killed:
            killed[pid] = time.monotonic()
            os.kill(pid, number)
        time.sleep(0.02)
    return list(killed.values())


def freeze(stack: Stack, job_id: str, *, seconds: float) -> None:
    """Let the job's process stand still for a time, as a machine does that is short of everything."""
    wait_until(lambda: (pid := horse_of(stack, job_id)) is not None and has_begun(pid))
    pid = horse_of(stack, job_id)
    assert pid is not None, "the job has ended already"
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def problem(client: Client, job_id: str) -> tuple[str, str, int]:
    """The kind of problem that a job failed with, what it says, and after how many attempts."""
    (job,) = client.ended([job_id])
    assert job["state"] == "failed", job
    return job["error"]["type"].rpartition("/")[2], job["error"]["detail"], job["attempts"]


def test_a_poisonous_job_fails_with_its_reason_while_a_hundred_others_finish(stack: Stack) -> None:
    client = stack.client
    around = filled(client)
    poisonous = filled(client, **slow_training(1000))
    others = [client.query(around, strategy="random", lease_seconds=0) for _ in range(OTHERS)]
    asked = time.monotonic()
    poison = client.train(poisonous)
    killed = kill_whenever_it_runs(stack, poison, signal.SIGSEGV)
    name, detail, attempts = problem(client, poison)
    assert (name, attempts, len(killed)) == ("worker-lost", ATTEMPTS, ATTEMPTS)
    assert "SIGSEGV" in detail
    # The lease is ten minutes: the parent told of each end at once, and the waits between attempts grow.
    begun, first, second = (later - earlier for earlier, later in pairwise([asked, *killed]))
    assert 0.5 <= first < begun + 15
    assert 1.0 <= second < begun + 15

    starved = client.train(poisonous)
    kill_whenever_it_runs(stack, starved, signal.SIGKILL)
    assert "SIGKILL" in problem(client, starved)[1]
    client.succeeded(*others)


def test_a_job_over_its_limits_fails_at_once_and_says_so(stack: Stack) -> None:
    client = stack.client
    project_id = filled(client, rows=20_000, **slow_training(1000))
    name, detail, attempts = problem(client, client.train(project_id))
    assert (name, attempts) == ("job-out-of-memory", 1), detail
    assert "64 MiB" in detail
    late = client.query(project_id, k=9000, strategy="k_center", lease_seconds=0)
    freeze(stack, late, seconds=QUERY_SECONDS + 0.5)
    name, detail, attempts = problem(client, late)
    assert (name, attempts) == ("job-timed-out", 1), detail
    assert f"{QUERY_SECONDS} seconds" in detail
    client.succeeded(client.query(project_id, strategy="random"))
