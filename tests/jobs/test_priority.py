"""Which work gives way when the cores are busy."""

import os
from pathlib import Path

from service.queue.messages import INTERACTIVE, MAINTENANCE, TRAINING
from workers.jobs.horse import Assignment, Horse


def priority(folder: Path, queue: str) -> int:
    """The niceness of a job of a queue."""
    told = folder / queue

    def tell(_: Assignment) -> bool:
        told.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), encoding="utf-8")
        return False

    horse = Horse.fork(warm=lambda: None, work=tell)
    assert horse.assign(Assignment("job_1", queue, "run_1"))
    assert not horse.rests()
    os.waitpid(horse.pid, 0)
    horse.close()
    return int(told.read_text(encoding="utf-8"))


def test_queries_give_way_to_requests_and_all_other_jobs_to_both(tmp_path: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    query, training, merge = (priority(tmp_path, queue) for queue in (INTERACTIVE, TRAINING, MAINTENANCE))
    assert own < query < training == merge


def test_a_worker_that_gives_way_itself_has_horses_that_do_so_no_less(tmp_path: Path) -> None:
    def fork_another(_: Assignment) -> bool:
        os.nice(10)
        priority(tmp_path, INTERACTIVE)
        return False

    worker = Horse.fork(warm=lambda: None, work=fork_another)
    assert worker.assign(Assignment("job_1", INTERACTIVE, "run_1"))
    assert not worker.rests()
    os.waitpid(worker.pid, 0)
    worker.close()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert int((tmp_path / INTERACTIVE).read_text(encoding="utf-8")) >= own + 10
