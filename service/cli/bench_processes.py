"""What the kernel says of a process: its children, its memory, its libraries. Linux only."""

import os
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_KIB = 1024


def child(parent: int, role: str) -> int:
    """The pid of the child of `parent` that runs `gleaner <role>`.

    Raises:
        LookupError: It has none.
    """
    for status in _PROC.glob("[0-9]*/status"):
        try:
            is_child = f"\nPPid:\t{parent}\n" in status.read_text()
            words = status.with_name("cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if is_child and role.encode() in words:
            return int(status.parent.name)
    raise LookupError(f"process {parent} has no child that runs gleaner {role}")


def resident(pid: int) -> int:
    """Resident memory now, in bytes."""
    return _status(pid, "VmRSS")


def peak_resident(pid: int) -> int:
    """The most resident memory since `reset_peak`, in bytes."""
    return _status(pid, "VmHWM")


def anonymous(parent: int | None = None) -> int:
    """Resident memory not backed by files, in bytes: of this process, or the most of any descendant of `parent`."""
    if parent is None:
        return _status(os.getpid(), "RssAnon")
    sizes = [0]
    for pid in _children(parent):
        with suppress(FileNotFoundError, ProcessLookupError, StopIteration):  # it ended meanwhile
            sizes += [_status(pid, "RssAnon"), anonymous(pid)]
    return max(sizes)


def family(pid: int) -> list[int]:
    """A process and all of its descendants."""
    found = [pid]
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        for child_pid in _children(pid):
            found += family(child_pid)
    return found


def anonymous_in_all(pid: int) -> int:
    """Resident memory not backed by files of a process and all of its descendants, in bytes."""
    total = 0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError, StopIteration):
            total += _status(one, "RssAnon")
    return total


def processor_seconds(pid: int) -> float:
    """Time on processors of a process and of all of its descendants that are alive."""
    ticks = 0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, (_PROC / str(one) / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found = []
    for task in (_PROC / str(pid) / "task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def reset_peak(pid: int) -> None:
    """Begin a new peak."""
    (_PROC / str(pid) / "clear_refs").write_text("5")


def has_mapped(pid: int, *libraries: str) -> bool:
    """Whether a process has loaded compiled code of any of these libraries."""
    maps = (_PROC / str(pid) / "maps").read_text()
    return any(f"/{library}/" in maps for library in libraries)


def _status(pid: int, name: str) -> int:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith(f"{name}:"))
