"""A horse by itself: which work it gives way to, when it rests and when it ends."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.queue.messages import INTERACTIVE, MAINTENANCE, TRAINING
from tests.support.redis_server import wait_until
from workers.jobs import horse as horses
from workers.jobs.horse import Assignment, Horse


def fork(work: Callable[[Assignment], bool]) -> Horse:
    return Horse.fork(warm=lambda: None, work=work)


def rests(horse: Horse, queue: str = INTERACTIVE) -> bool:
    """Give the horse a job; whether it waits for another one, or has ended."""
    assert horse.assign(Assignment("job_1", queue, "run_1"))
    if horse.rests():
        return True
    os.waitpid(horse.pid, 0)
    horse.close()
    return False


def priority(folder: Path, queue: str) -> int:
    """The niceness of a job of a queue."""
    told = folder / queue

    def tell(_: Assignment) -> bool:
        told.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), encoding="utf-8")
        return False

    assert not rests(fork(tell), queue)
    return int(told.read_text(encoding="utf-8"))


def test_interactive_jobs_give_way_to_requests_and_all_others_to_both(tmp_path: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    query, training, merge = (priority(tmp_path, queue) for queue in (INTERACTIVE, TRAINING, MAINTENANCE))
    assert own < query < training == merge


def test_a_worker_that_gives_way_itself_has_horses_that_do_so_no_less(tmp_path: Path) -> None:
    def fork_another(_: Assignment) -> bool:
        os.nice(10)
        priority(tmp_path, INTERACTIVE)
        return False

    assert not rests(fork(fork_another))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert int((tmp_path / INTERACTIVE).read_text(encoding="utf-8")) >= own + 10


Kernel = Callable[[Callable[[int], bool]], Path]
"""Put a kernel in place that hears the asks of which this is true, by number; what it is asked, a line each."""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """It takes one such wish in a tenth of a second from all processes that may not administer the machine."""
    asked, write = tmp_path / "asked", Path.write_text

    def put(hears: Callable[[int], bool]) -> Path:
        def write_text(path: Path, text: str) -> int:
            if path != Path("/proc/self/autogroup"):
                return write(path, text)
            with asked.open("a") as file:
                file.write(f"{text}\n")
            if not hears(len(asked.read_text().split())):
                raise BlockingIOError
            return len(text)

        monkeypatch.setattr(Path, "write_text", write_text)
        return asked

    return put


def test_the_session_of_a_horse_gives_way_as_well_when_the_kernel_is_asked_by_many(kernel: Kernel) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    asked = kernel(lambda number: number % 3 == 0)
    horse = fork(lambda _: True)
    wait_until(lambda: asked.exists() and len(asked.read_text().split()) == 3)
    assert not rests(horse, TRAINING)
    assert asked.read_text().split() == [str(max(5, own))] * 3 + [str(max(15, own))] * 3


def test_no_interactive_job_waits_for_a_kernel_that_is_busy(kernel: Kernel) -> None:
    asked = kernel(lambda _: False)
    horse = fork(lambda _: True)
    assert rests(horse)
    assert len(asked.read_text().split()) < 20  # all that it asks for when nothing comes
    horse.dismiss()


def test_a_horse_that_had_no_time_to_ask_does_so_before_each_job_until_it_is_heard(
    kernel: Kernel, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    asked = kernel(lambda _: heard.exists())
    horse = fork(lambda _: True)
    assert rests(horse)
    for more in (1, 1, 0):
        known = len(asked.read_text().split())
        assert rests(horse)
        assert len(asked.read_text().split()) == known + more
        heard.touch()
    horse.dismiss()


def test_a_horse_gives_way_before_it_warms_itself(tmp_path: Path) -> None:
    told, own = tmp_path / "told", os.getpriority(os.PRIO_PROCESS, 0)

    def warm() -> None:
        told.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), encoding="utf-8")

    assert not rests(Horse.fork(warm=warm, work=lambda _: False))
    assert int(told.read_text(encoding="utf-8")) == max(5, own)


def test_a_horse_rests_after_interactive_jobs_that_allow_it() -> None:
    horse = fork(lambda _: True)
    assert all(rests(horse) for _ in range(3))
    assert not rests(horse, TRAINING)
    assert not rests(fork(lambda _: False))


def test_the_last_job_of_a_horse_is_no_promise_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horses, "_RIDES", 2)
    horse = fork(lambda _: True)
    assert rests(horse)
    assert not rests(horse)


def test_a_horse_that_keeps_much_memory_is_replaced() -> None:
    kept: list[bytearray] = []

    def keep(_: Assignment) -> bool:
        kept.append(bytearray(b"\1") * (80 * 1024 * 1024))
        return True

    horse = fork(keep)
    assert rests(horse)
    assert not rests(horse)


def test_a_horse_that_took_much_memory_and_gave_it_back_rests() -> None:
    def take(_: Assignment) -> bool:
        return bool(bytearray(b"\1") * (512 * 1024 * 1024))

    horse = fork(take)
    assert all(rests(horse) for _ in range(2))
    horse.dismiss()


def test_the_end_of_a_horse_is_seen_though_a_process_of_its_own_lives_on(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def leave_one_behind(_: Assignment) -> bool:
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        told.write_text(str(child), encoding="utf-8")
        return False

    try:
        assert not rests(fork(leave_one_behind))
    finally:
        os.kill(int(told.read_text(encoding="utf-8")), signal.SIGKILL)
