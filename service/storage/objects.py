import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

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

    def path(self, key: str) -> Path:
        """A local file with the object's bytes, to read or map but never to write.

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

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with the prefix, in order; without one, all."""
        ...

    def clear_scratch(self, older_than_seconds: float) -> int:
        """Remove what crashed writers left in the scratch folder; returns how many files."""
        ...


def checked_key(key: str) -> str:
    """The key itself.

    Raises:
        ValueError: It is not a key.
    """
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
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
