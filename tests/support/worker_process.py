"""A worker as a real process, with functions of the test in its allow-list."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from service.queue.messages import INTERACTIVE, QUEUES, TRAINING, Ring
from service.queue.redis import RedisQueue
from tests.support.redis_server import RedisServer, wait_until

TIMEOUTS = dict.fromkeys(QUEUES, 60)

# Each function writes what it did into the folder; "hangs" also writes the pid of its horse.
WORKER = """
import os, sys, time
from pathlib import Path
from service.settings import Settings
from workers.main import prepare, work as work_on

folder = Path(sys.argv[1])

def work(job_id):
    with (folder / "done").open("a") as file:
        file.write(f"{job_id} {os.environ['OPENBLAS_NUM_THREADS']} {os.getpid()}\\n")
    return True

def last(job_id):
    work(job_id)
    return False

def hang(job_id):
    (folder / "horse").write_text(str(os.getpid()))
    time.sleep(float(job_id.removeprefix("job_")))
    return work(job_id)

def fail(job_id):
    raise RuntimeError("as the test wants")

functions = {"gleaner.run_job": work, "test.hang": hang, "test.fail": fail, "test.last": last}
settings = Settings(redis_url=sys.argv[2])
prepare(settings, functions)
work_on(settings, sys.argv[3:])
"""


class WorkerProcess:
    """A worker whose functions are those of the test.

    Args:
        folder: Where they note what they did.
        url: Of Redis.
        queues: In this order; interactive and training when none are named.
    """

    def __init__(self, folder: Path, url: str, *queues: str) -> None:
        self.folder = folder
        command = [sys.executable, "-c", WORKER, str(folder), url, *(queues or (INTERACTIVE, TRAINING))]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, start_new_session=True, stderr=log)

    def done(self) -> list[str]:
        """The jobs that were done."""
        return [words[0] for words in self._noted()]

    def threads(self) -> list[str]:
        """How many threads each of these had for BLAS."""
        return [words[1] for words in self._noted()]

    def horses(self) -> list[int]:
        """The pids of the horses that did these."""
        return [int(words[2]) for words in self._noted()]

    def _noted(self) -> list[list[str]]:
        path = self.folder / "done"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def horse(self) -> int:
        """The pid of the horse that hangs."""
        path = self.folder / "horse"
        wait_until(lambda: path.exists() and path.read_text() != "")
        return int(path.read_text())

    def log(self) -> str:
        """What was logged."""
        return (self.folder / "log").read_text()

    def forget(self) -> None:
        """Remove what the functions have noted."""
        for name in ("done", "horse"):
            (self.folder / name).unlink(missing_ok=True)

    def kill(self) -> None:
        """End it and all of its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def ring(redis: RedisServer, *job_ids: str, queue: str = INTERACTIVE) -> None:
    """Ring jobs for the first time."""
    made = RedisQueue(redis.url, timeouts=TIMEOUTS)
    made.ring([Ring(job_id, queue, 0) for job_id in job_ids])
    made.close()
