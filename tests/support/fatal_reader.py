"""A reader that ends the process in which it is first read."""

import os
import signal
from pathlib import Path
from typing import Any

from workers.jobs.readers import Dense, DenseReader


class FatalReader(DenseReader):
    """Kills the first process that reads with it, the one that made it excepted, and leaves a file to tell."""

    def __init__(self, *args: Any, killed: Path, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._killed = killed
        self._maker = os.getpid()

    def read(self, start: int, stop: int) -> Dense:
        if os.getpid() != self._maker and not self._killed.exists():
            self._killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(start, stop)
