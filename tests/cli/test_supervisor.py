import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from service.cli import supervisor
from service.cli.supervisor import Child, end, start
from tests.support.processes import alive
from tests.support.redis_server import wait_until
from tests.support.stopwatch import Stopwatch, assert_within

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(3600)"]
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({path!r}, 'w').close(); time.sleep(3600)"
)
# A child in its own session, whose pid is printed.
PARENT = """
import os, sys, time
from service.cli import supervisor
from service.cli.supervisor import start
print(start([sys.executable, "-c", "import time; time.sleep(3600)"], dict(os.environ)).pid, flush=True)
time.sleep(3600)
"""


def child(*command: str) -> Child:
    return Child("a child", partial(start, command, dict(os.environ)))


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_dies_is_started_again() -> None:
    made = child(*SLEEP)
    made.tend()
    assert made.process is not None
    first = made.process.pid
    made.tend()
    assert made.process.pid == first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first))

    def is_back() -> bool:
        made.tend()
        return made.process is not None

    assert_within(2, is_back)
    assert made.process.pid != first
    assert made.deaths == 1
    end([made], hurry=lambda: False)
    assert made.process.returncode == -signal.SIGTERM


def test_a_child_that_dies_young_is_started_later_and_later(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "YOUNG_SECONDS", 60.0)  # in which Python has started and ended on any machine
    made = child(sys.executable, "-c", "raise SystemExit(3)")

    def delay_after_death() -> float:
        made.due_at = 0
        made.tend()
        assert made.process is not None
        made.process.wait()
        made.tend()
        return made.delay

    assert [delay_after_death() for _ in range(3)] == [0.1, 0.2, 0.4]
    made.delay = 4.0
    assert delay_after_death() == 5.0
    assert "a child ended (exit code 3)." in capsys.readouterr().err


def test_nothing_is_started_while_another_process_does_the_work() -> None:
    made = Child("a child", partial(start, SLEEP, dict(os.environ)), adopted=lambda: True)
    made.tend()
    assert made.process is None


def test_a_stubborn_child_and_its_own_children_are_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN.format(path=str(ready))!r}])"
    made, gentle = child(sys.executable, "-c", script), child(*SLEEP)
    made.tend()
    gentle.tend()
    wait_until(ready.exists)
    assert made.process is not None
    group = made.process.pid
    with Stopwatch() as ending:
        end([made, gentle], hurry=lambda: False, seconds=0.5)
    assert ending.seconds < 3
    assert_within(2, lambda: not group_exists(group))


def test_in_a_hurry_nobody_is_waited_for(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    made = child(sys.executable, "-c", STUBBORN.format(path=str(ready)))
    made.tend()
    wait_until(ready.exists)
    with Stopwatch() as ending:
        end([made], hurry=lambda: True, seconds=30)
    assert ending.seconds < 2


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_die_with_a_killed_supervisor() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
        assert_within(2, lambda: not alive(pid))
