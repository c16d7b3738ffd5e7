"""Copies of objects of a store that is elsewhere, on the disk of this host, for all of its processes."""

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

_PARTIAL = "partial-"
_STALE_SECONDS = 3600.0  # nobody writes a copy for longer without touching it
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Download(NamedTuple):
    """An object on its way: how many bytes it has, and these, which are whole and right when they end well."""

    size: int
    blocks: Iterator[bytes]


class FileCache:
    """At most so many bytes of files; what was used least recently leaves.

    A copy appears under its name when it is whole and durable, and is never changed. Readers have it open: it may leave
    meanwhile, and its room is free once they close it.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Make the folder; with no bytes at all, nothing is kept and everything fetched each time."""
        self._folder = folder
        self._turns = folder / "turns"
        self._most_bytes = most_bytes
        self._turns.mkdir(parents=True, exist_ok=True)

    def open(self, name: str, fetch: Callable[[], Download]) -> BinaryIO:
        """The copy of what has this name, which `fetch` downloads when it is not here."""
        path = self._path(name)
        if not self._most_bytes:
            return self._fetched(path, fetch())
        with suppress(FileNotFoundError):
            return _used(path)
        with self._turn(path):
            with suppress(FileNotFoundError):  # somebody else has fetched it meanwhile
                return _used(path)
            return self._fetched(path, fetch())

    def forget(self, name: str) -> None:
        """Remove the copy; nothing happens when there is none."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    @contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        """One process fetches an object and others wait for it, unless it takes long or was frozen."""
        with (self._turns / path.name[:2]).open("ab") as turn:
            until = time.monotonic() + _PATIENCE_SECONDS
            while not _taken(turn) and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
            yield

    def _fetched(self, path: Path, download: Download) -> BinaryIO:
        partial = self._folder / f"{_PARTIAL}{secrets.token_hex(16)}"
        file = partial.open("x+b")
        try:
            file.truncate(download.size)  # takes its room from now on
            keep = bool(self._most_bytes) and download.size <= self._most_bytes
            if keep:
                self._make_room()
            for block in download.blocks:
                file.write(block)
            file.flush()
            if keep:
                os.fsync(file.fileno())
                partial.replace(path)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        finally:
            partial.unlink(missing_ok=True)
        return file

    def _make_room(self) -> None:
        """Remove copies until all of them, with those that are on their way, have no more bytes than they may."""
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                told = path.stat()
                if path.is_file():
                    found.append((told.st_mtime, told.st_size, path))
        held, limit = sum(size for _, size, _ in found), time.time() - _STALE_SECONDS
        for used_at, size, path in sorted(found):
            on_its_way = path.name.startswith(_PARTIAL)
            if (on_its_way and used_at < limit) or (not on_its_way and held > self._most_bytes):
                path.unlink(missing_ok=True)
                held -= size


def _used(path: Path) -> BinaryIO:
    """An open file, which is noted as the last used."""
    file = path.open("rb")
    os.utime(file.fileno())
    return file


def _taken(turn: BinaryIO) -> bool:
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
