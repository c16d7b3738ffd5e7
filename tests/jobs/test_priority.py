"""Which jobs give way when the cores are busy."""

import os
from pathlib import Path

import pytest

from service.queue.messages import INTERACTIVE, MAINTENANCE, TRAINING
from workers.jobs.horse import Assignment, SpareHorse


@pytest.mark.parametrize(("queue", "gives_way"), [(INTERACTIVE, False), (TRAINING, True), (MAINTENANCE, True)])
def test_nobody_waits_for_a_training_who_waits_for_an_answer(tmp_path: Path, queue: str, *, gives_way: bool) -> None:
    told = tmp_path / "priority"

    def tell(_: Assignment) -> None:
        told.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), encoding="utf-8")

    horse = SpareHorse.fork(warm=lambda: None, work=tell)
    assert horse.assign(Assignment("job_1", queue, "run_1"))
    os.waitpid(horse.pid, 0)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert (int(told.read_text(encoding="utf-8")) > own) == gives_way
