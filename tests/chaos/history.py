"""What happened, in order: an append-only file of JSON lines that the checker reads afterwards."""

import json
import threading
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class History:
    """Written by all threads of a run; each record is on disk before the next thing happens.

    Args:
        path: A file that is new.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", buffering=1)
        self._lock = threading.Lock()

    def add(self, what: str, **fields: Any) -> None:
        """Append a record with the time of now."""
        line = json.dumps({"what": what, "at": time.time(), **fields}, separators=(",", ":"))
        with self._lock:
            self._file.write(line + "\n")

    def close(self) -> None:
        """No more records."""
        self._file.close()


def read(path: Path) -> list[Record]:
    """All records."""
    with path.open() as file:
        return [json.loads(line) for line in file]
