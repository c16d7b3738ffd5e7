"""Files that are written durably, with a digest of what is in them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What a file holds: its bytes and their SHA-256."""

    bytes: int
    sha256: str


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, some at a time."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def write_part(path: Path, source: Iterable[bytes]) -> Part:
    """Write a new file durably, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0
    with path.open("xb") as file:
        for block in source:
            file.write(block)
            digest.update(block)
            count += len(block)
        file.flush()
        os.fsync(file.fileno())
    return Part(count, digest.hexdigest())


def part_of(path: Path) -> Part:
    """What a file holds."""
    digest, count = hashlib.sha256(), 0
    for block in blocks(path):
        digest.update(block)
        count += len(block)
    return Part(count, digest.hexdigest())


def sync_tree(folder: Path) -> None:
    """Make the names of all files below a folder durable."""
    for part in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(part)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
