"""Workers that are forked from one process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import alive
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.stopwatch import assert_within

# Each of three writes its pid into a file; the last one ends at once, with a fault.
CREW = """
import os, sys, time
from functools import partial
from pathlib import Path
from service.cli.crew import run
from service.telemetry import configure_logging

configure_logging("info", role="worker")

def work(name):
    try:
        Path(sys.argv[1], name).write_text(str(os.getpid()))
        if name == "faulty":
            raise RuntimeError("as the test wants")
        time.sleep(3600)
    except KeyboardInterrupt:
        Path(sys.argv[1], name + " was asked").touch()

run([partial(work, name) for name in ("first", "second", "faulty")])
"""


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", CREW, str(tmp_path)], stderr=subprocess.PIPE, text=True) as made:
        wait_until(lambda: all(pid(tmp_path, name) for name in ("first", "second", "faulty")))
        yield made
        made.kill()


def pid(folder: Path, name: str) -> int:
    path = folder / name
    return int(path.read_text() or 0) if path.exists() else 0


def test_a_worker_that_ends_is_forked_anew_and_all_stop_when_asked(crew: subprocess.Popen[str], tmp_path: Path) -> None:
    first, second, faulty = (pid(tmp_path, name) for name in ("first", "second", "faulty"))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: pid(tmp_path, "first") not in {0, first})
    wait_until(lambda: pid(tmp_path, "faulty") not in {0, faulty})
    assert pid(tmp_path, "second") == second
    crew.terminate()
    _, told = crew.communicate(timeout=PATIENCE_SECONDS)
    assert crew.returncode == 0
    assert all((tmp_path / f"{name} was asked").exists() for name in ("first", "second"))
    assert not alive(second)
    assert "A worker ended (signal 9)." in told
    assert "A worker ended (exit code 1)." in told
    assert "RuntimeError: as the test wants" in told


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_workers_die_with_the_process_that_they_come_from(crew: subprocess.Popen[str], tmp_path: Path) -> None:
    pids = [pid(tmp_path, name) for name in ("first", "second")]
    crew.kill()
    assert_within(2, lambda: not any(map(alive, pids)))
