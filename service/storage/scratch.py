import secrets
import time
from contextlib import suppress
from pathlib import Path


class ScratchFolder:
    """Files that are being written, under names that nobody else has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> Path:
        """A new path; nothing is there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / secrets.token_hex(16)

    def clear(self, older_than_seconds: float) -> int:
        """Remove files that nobody has written to for a time; how many."""
        limit, removed = time.time() - older_than_seconds, 0
        for path in self._folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed
