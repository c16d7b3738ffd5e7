"""One running instance for each data folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "gleaner.lock"


class FolderInUseError(Exception):
    """Another instance holds the folder."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the data folder for the time of the block.

    The lock is the kernel's and ends with the process, however that ends; the pid in the file is for people. The file
    stays: removing it would let two instances lock two files of one name.

    Raises:
        FolderInUseError: Another process holds it.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            raise FolderInUseError(
                f"Gleaner already runs on {folder} (process {holder}). Stop it first, or choose another --data-dir."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
