import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from service.storage.objects import ObjectNotFoundError, checked_key, checked_prefix, latest_put


class MemoryObjects:
    """Objects in this process's memory; files are made only where somebody needs one."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._put_at: dict[str, float] = {}

    @cached_property
    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="gleaner-objects-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def scratch(self) -> Path:
        """A new path in the private folder."""
        return self._folder / f"scratch-{secrets.token_hex(16)}"

    def put(self, key: str, source: Path) -> None:
        """Read the file and remove it."""
        self.put_bytes(key, source.read_bytes())
        source.unlink()

    def put_bytes(self, key: str, data: bytes) -> None:
        """Keep the bytes."""
        self._put_at[checked_key(key)] = time.time()
        self._objects[key] = data

    def get(self, key: str) -> bytes:
        """The bytes kept."""
        try:
            return self._objects[checked_key(key)]
        except KeyError as error:
            raise ObjectNotFoundError(key) from error

    def blocks(self, key: str) -> Iterator[bytes]:
        """All at once."""
        return iter((self.get(key),))

    def open(self, key: str) -> BinaryIO:
        """A copy in a file without a name."""
        data = self.get(key)
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by the caller
        file.write(data)
        file.seek(0)
        return file

    def exists(self, key: str) -> bool:
        """Whether the key is kept."""
        return checked_key(key) in self._objects

    def delete(self, key: str) -> None:
        """Forget the object."""
        self._objects.pop(checked_key(key), None)

    def delete_prefix(self, prefix: str) -> None:
        """Forget the objects."""
        for key in list(self.list(checked_prefix(prefix))):
            self.delete(key)

    def list(self, prefix: str = "", *, older_than_seconds: float | None = None) -> Iterator[str]:
        """The keys in order."""
        wanted = checked_prefix(prefix) if prefix else ""
        limit = latest_put(older_than_seconds)
        yield from sorted(key for key in list(self._objects) if key.startswith(wanted) and self._put_at[key] <= limit)

    def clear_scratch(self, older_than_seconds: float) -> int:
        """Nothing to do: the folder ends with this object."""
        del older_than_seconds
        return 0
