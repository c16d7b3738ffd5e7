import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

_SEGMENT = r"[a-z0-9_-][a-z0-9._-]*"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
MAX_KEY_LENGTH = 512
RESTORE_MARKER = "restore-under-way"  # is there from the first to the last step of a restore


class ObjectNotFoundError(LookupError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}")
        self.key = key


class ObjectStore(Protocol):
    """Whole files by key. A key is there with all its bytes or not at all, also after a crash.

    Keys are paths of lower-case segments (`[a-z0-9._-]`, none starts with a dot); anything else is a ValueError. A
    prefix is such a path with a slash at its end.
    """

    def scratch(self) -> Path:
        """A new path for a file to be written and then `put`; nothing is there yet."""
        ...

    def put(self, key: str, source: Path) -> None:
        """Store a file under a key, replacing what was there. The file is taken over: it is gone afterwards."""
        ...

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store bytes under a key, replacing what was there."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            ObjectNotFoundError: There is none.
        """
        ...

    def blocks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object, some at a time; they are worth something once all of them have come.

        Raises:
            ObjectNotFoundError: There is none.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """The object as a local file, to read or map, which stays as it is whatever becomes of the key.

        A store that is elsewhere keeps copies, and asks no more for what it has: such a key is put once.

        Raises:
            ObjectNotFoundError: There is none.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object with this key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove every object whose key starts with the prefix."""
        ...

    def list(self, prefix: str = "", *, older_than_seconds: float | None = None) -> Iterator[str]:
        """The keys that start with the prefix, in order; without one, all. With an age, those that were put before."""
        ...

    def clear_scratch(self, older_than_seconds: float) -> int:
        """Remove what crashed writers left behind; returns how many files."""
        ...


def is_key(text: str) -> bool:
    """Whether it can be a key."""
    return len(text) <= MAX_KEY_LENGTH and _KEY.fullmatch(text) is not None


def latest_put(older_than_seconds: float | None) -> float:
    """When an object of such an age was put at the latest, in seconds of the epoch."""
    return math.inf if older_than_seconds is None else time.time() - older_than_seconds


def checked_key(key: str) -> str:
    """The key itself.

    Raises:
        ValueError: It is not a key.
    """
    if not is_key(key):
        raise ValueError(f"not an object key: {key!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself.

    Raises:
        ValueError: It is not a key with a slash at its end.
    """
    if not prefix.endswith("/"):
        raise ValueError(f"not an object prefix: {prefix!r}")
    checked_key(prefix[:-1])
    return prefix
