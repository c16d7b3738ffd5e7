import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_server import PATIENCE_SECONDS, wait_until

# Orphans come to this process as they come to process 1, once it is a "subreaper".
BEGIN = """
import ctypes, os, signal, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
from service.cli.first_process import tend_child
tend_child()
"""
ENDS = BEGIN + "sys.exit(7)"
IS_KILLED = BEGIN + "os.kill(os.getpid(), signal.SIGKILL)"
STOPS_IN_ORDER = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("up", flush=True)
time.sleep(3600)
"""
LEAVES_AN_ORPHAN = """
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.1)
    else:
        print("gone", flush=True)
    os._exit(0)
os.wait()
"""


COUNTS = """
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print("up", flush=True)
while not heard:
    time.sleep(0.01)
time.sleep(0.3)
print(len(heard), "heard", flush=True)
"""
WITH_A_TERMINAL = "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"


def run(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("code", "ends_with"), [(ENDS, 7), (IS_KILLED, 128 + signal.SIGKILL)])
def test_it_ends_as_its_child_ends(code: str, ends_with: int) -> None:
    with run(code) as process:
        assert process.wait(PATIENCE_SECONDS) == ends_with


def test_the_child_hears_of_a_signal() -> None:
    with run(BEGIN + STOPS_IN_ORDER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 3


def test_a_child_that_has_not_started_yet_can_be_stopped() -> None:
    with run(BEGIN + "print('up', flush=True)\ntime.sleep(3600)") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_orphans_are_reaped() -> None:
    with run(BEGIN + LEAVES_AN_ORPHAN + STOPS_IN_ORDER) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"gone\n", b"up\n"]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: len(children.read_text().split()) == 1)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 3


def test_a_key_of_the_terminal_is_heard_once() -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", WITH_A_TERMINAL + BEGIN + COUNTS]
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        os.write(ours, b"\x03")
        assert process.stdout.readline() == b"1 heard\n"
        assert process.wait(PATIENCE_SECONDS) == 0
    os.close(ours)
    os.close(theirs)
