import errno
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from service.storage.objects import ObjectNotFoundError, checked_key, checked_prefix, latest_put
from service.storage.parts import blocks, sync
from service.storage.scratch import ScratchFolder

# no key starts with a dot, so this folder is outside of all of them
SCRATCH = ".scratch"


class LocalObjects:
    """Objects as files of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._scratch = ScratchFolder(root / SCRATCH)

    def scratch(self) -> Path:
        """A new path on the disk of the objects, so that `put` need only rename."""
        return self._scratch.new()

    def put(self, key: str, source: Path) -> None:
        """Make the file durable, then visible under its key by a rename."""
        target = self._root / checked_key(key)
        sync(source)
        _make_folder(target.parent)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._put_from_another_disk(target, source)
        sync(target.parent)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write the bytes to a scratch file and put that."""
        checked_key(key)
        source = self.scratch()
        try:
            source.write_bytes(data)
            self.put(key, source)
        finally:
            source.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """The file's bytes."""
        with self.open(key) as file:
            return file.read()

    def blocks(self, key: str) -> Iterator[bytes]:
        """The file's bytes, some at a time."""
        return blocks(self.open(key))

    def open(self, key: str) -> BinaryIO:
        """The file itself."""
        try:
            return (self._root / checked_key(key)).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectNotFoundError(key) from error

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return (self._root / checked_key(key)).is_file()

    def delete(self, key: str) -> None:
        """Remove the file; processes that have it mapped keep their view."""
        (self._root / checked_key(key)).unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder."""
        folder = self._root / checked_prefix(prefix)
        while folder.is_dir():
            try:
                shutil.rmtree(folder)
            except OSError as error:
                # somebody else removes from it, or puts into it, at the same time
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                    raise

    def list(self, prefix: str = "", *, older_than_seconds: float | None = None) -> Iterator[str]:
        """The files below the prefix, in the order of their keys."""
        folder = self._root / checked_prefix(prefix) if prefix else self._root
        limit = latest_put(older_than_seconds)
        found = (path for path in folder.rglob("*") if _is_file_of(path, limit))
        keys = (path.relative_to(self._root).as_posix() for path in found)
        yield from sorted(key for key in keys if not key.startswith(SCRATCH + "/"))

    def clear_scratch(self, older_than_seconds: float) -> int:
        """Remove scratch files that nobody has written to for a time."""
        return self._scratch.clear(older_than_seconds)

    def _put_from_another_disk(self, target: Path, source: Path) -> None:
        copy = self.scratch()
        try:
            shutil.copyfile(source, copy)
            sync(copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
        source.unlink()


def _is_file_of(path: Path, limit: float) -> bool:
    """Whether it is a file, which was written by then."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_mtime <= limit


def _make_folder(folder: Path) -> None:
    """Make a folder durably: each new name is synced in its parent."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:
        sync(part.parent)
