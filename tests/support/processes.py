"""Processes as the kernel knows them: those of one data folder, and single ones. Linux only."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.redis_server import wait_until


@dataclass(frozen=True)
class Process:
    """A process that runs or is stopped; what has ended and waits for its parent is none."""

    pid: int
    parent: int
    words: tuple[str, ...]


def of_folder(folder: Path) -> list[Process]:
    """Every process whose command line or environment names `folder`."""
    name = os.fsencode(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            command = (entry / "cmdline").read_bytes()
            if name not in command and name not in (entry / "environ").read_bytes():
                continue
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                words = tuple(command.decode(errors="replace").split("\0"))
                found.append(Process(int(entry.name), int(parent), words))
    return found


def alive(pid: int) -> bool:
    """Whether a process is there, and does not merely wait for its parent to learn of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def role(folder: Path, name: str) -> list[int]:
    """The pids that run `gleaner <name>`, without their children."""
    same = {process.pid: process for process in of_folder(folder) if name in process.words}
    return [pid for pid, process in same.items() if process.parent not in same]


def workers(folder: Path) -> list[int]:
    """The pids of the workers, also of those that share a process, which is their parent."""
    found = of_folder(folder)
    tops = role(folder, "worker")
    crews = [process.pid for process in found if process.pid in tops and process.words.count("--queues") > 1]
    return [process.pid for process in found if process.parent in crews or process.pid in {*tops} - {*crews}]


def horses(folder: Path) -> list[int]:
    """The pids of the workers' work-horses, at work or waiting."""
    parents = workers(folder)
    return [process.pid for process in of_folder(folder) if process.parent in parents]


def freeze(pids: Iterable[int]) -> None:
    """Stop each that is still there, and wait until none of their threads does anything any more."""
    left = [*pids]
    send(left, signal.SIGSTOP)
    wait_until(lambda: all(map(_stands_still, left)))


def _stands_still(pid: int) -> bool:
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return {"T", "Z", "X"}.issuperset(states)  # of those that have ended in the meantime, too


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
