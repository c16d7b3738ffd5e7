"""Files that are written durably, with a digest of what is in them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What a file holds: its bytes and their SHA-256."""

    bytes: int
    sha256: str


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an open file, some at a time; it is closed then."""
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


def copy_into(file: IO[bytes], source: Iterable[bytes]) -> Part:
    """Write to an open file."""

    def written() -> Iterator[bytes]:
        for block in source:
            file.write(block)
            yield block

    return part_of(written())


def write_part(path: Path, source: Iterable[bytes]) -> Part:
    """Write a new file durably, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        part = copy_into(file, source)
        file.flush()
        os.fsync(file.fileno())
    return part


def part_of(source: Iterable[bytes]) -> Part:
    """What these bytes are."""
    digest, count = hashlib.sha256(), 0
    for block in source:
        digest.update(block)
        count += len(block)
    return Part(count, digest.hexdigest())


def sync_tree(folder: Path) -> None:
    """Make the names of all files below a folder durable."""
    for part in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(part)


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
