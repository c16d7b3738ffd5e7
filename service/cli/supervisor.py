"""Keeping child processes alive, and ending all of them."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

import click

from service.lifeline import die_with_parent

TICK_SECONDS = 0.05
YOUNG_SECONDS = 5.0
FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 5.0
KILL_AFTER_SECONDS = 8.0


def gleaner_command(*words: str) -> list[str]:
    """Return the command line of `gleaner <words>`, with this interpreter."""
    script = Path(sysconfig.get_path("scripts")) / "gleaner"
    return [sys.executable, *([str(script)] if script.exists() else ["-m", "service.cli.main"]), *words]


def start(
    command: Sequence[str], environment: dict[str, str], *, output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that Ctrl-C in the terminal does not reach, and that dies with this process.

    Args:
        command: Its command line.
        environment: All of its variables.
        output: Where what it says goes; none: where this process says it.
    """
    return subprocess.Popen(  # noqa: S603  # our own command
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # this process has no threads
    )


class Process(Protocol):
    """What is tended: a `subprocess.Popen`, or what is like one."""

    pid: int
    returncode: int | Any

    def poll(self) -> int | None:
        """The exit code, none while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to stop."""
        ...

    def wait(self) -> int | None:
        """Wait for its end."""
        ...


@dataclass
class Child:
    """A process that is started again whenever it ends; later and later, when it ends young.

    Args:
        name: As people know it.
        start: Starts it.
        adopted: Says that a process which is not ours does its work, so that none needs to be started.
    """

    name: str
    start: Callable[[], Process]
    adopted: Callable[[], bool] = field(default=lambda: False)
    process: Process | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    delay: float = 0.0
    deaths: int = 0

    def tend(self) -> None:
        """Start the process if none runs and it is time to."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._mourn(self.process.returncode, now)
        if self.process is None and now >= self.due_at and not self.adopted():
            self.process = self.start()
            self.started_at = now

    def _mourn(self, code: int, now: float) -> None:
        young = now - self.started_at < YOUNG_SECONDS
        self.delay = min(2 * self.delay, LAST_DELAY_SECONDS) if young and self.delay else FIRST_DELAY_SECONDS
        self.due_at = now + self.delay
        self.deaths += 1
        self.process = None
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        click.echo(f"{self.name} ended ({reason}).", err=True)


def end(children: Iterable[Child], *, hurry: Callable[[], bool], seconds: float = KILL_AFTER_SECONDS) -> None:
    """End all children: ask them, and kill those that have not ended after `seconds`, or as soon as `hurry` says so."""
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in running) and time.monotonic() < deadline and not hurry():
        time.sleep(TICK_SECONDS)
    for process in running:
        # The whole group: what a child leaves behind goes too.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class StopSignals:
    """Counts the signals that ask this process to stop.

    Args:
        told: What is said at the first one.
    """

    def __init__(self, told: bytes = b"Stopping.\n") -> None:
        self.count = 0
        self._told = told
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asked not to end with the terminal
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:
            os.write(2, self._told)  # sys.stderr may be in the middle of a write
