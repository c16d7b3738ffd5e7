"""Children of a warm process, whose tasks are programs here: what they have, how they end, and that nothing is left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from service.codecs.children import Child, Children
from service.codecs.exports import Column
from service.codecs.table_exports import ExportError, write_parquet
from tests.codecs.tables import table_process
from tests.support.processes import alive
from tests.support.redis_server import PATIENCE_SECONDS, wait_until

# With so few files that none may be left open.
SERVES = """
import resource
from service.codecs.warm_process import WarmProcess
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
WarmProcess(exec).serve()
"""
COMMAND = (sys.executable, "-I", "-c", SERVES)
SAYS_WHO = b"import os; os.write(1, b'%d %d\\n' % (os.getpid(), os.getppid()))"
SLEEPS = SAYS_WHO + b"; import time; time.sleep(3600)"
# Prints the pids of a child at work and of the warm process, and lets a fork do so, too.
OWNER = f"""
import os, time
from service.codecs.children import Children
children = Children({COMMAND!r}, {{}})
def show():
    with open(os.devnull) as nothing, children.at_work({SLEEPS!r}, nothing.fileno()) as child:
        os.write(1, child.output.readline())
        time.sleep(3600)
with open(os.devnull) as nothing, children.at_work({SAYS_WHO!r}, nothing.fileno()) as child:
    child.output.read()
fork = os.fork()
os.write(1, b'%d\\n' % os.getpid())
show()
"""


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children(COMMAND, {})
    yield made
    made.leave()


@contextmanager
def at_work(children: Children, program: bytes) -> Iterator[Child]:
    with Path(os.devnull).open("rb") as nothing, children.at_work(program, nothing.fileno()) as child:
        yield child


@contextmanager
def pipe() -> Iterator[tuple[int, IO[bytes]]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as lines:
        yield source.fileno(), lines


def done(children: Children, program: bytes) -> tuple[str, int | None]:
    """What a child wrote, and how it ended."""
    with at_work(children, program) as child:
        said = child.output.read().decode()
        child.wait(PATIENCE_SECONDS)
    return said, child.exit_code


def warm(children: Children) -> int:
    """The pid of the warm process."""
    return int(done(children, SAYS_WHO)[0].split()[1])


def said(child: Child) -> list[int]:
    """The pids of a child and its parent."""
    return [int(pid) for pid in child.output.readline().split()]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [
        (b"pass", 0),
        (b"raise SystemExit", 1),
        (b"import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        (b"import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", -signal.SIGXCPU),
    ],
)
def test_it_is_known_how_a_child_ended(children: Children, program: bytes, exit_code: int) -> None:
    assert done(children, program) == ("", exit_code)


def test_a_child_has_no_files_but_its_own_and_no_environment(children: Children) -> None:
    shows = b"import os; os.write(1, repr([sorted(os.listdir('/proc/self/fd')), [*os.environ]]).encode())"
    with at_work(children, SLEEPS) as other:
        said(other)
        # one more lists the folder; Python itself sets the variable where there is no locale
        assert done(children, shows) == (repr([["0", "1", "2", "3"], ["LC_CTYPE"]]), 0)


def test_no_process_of_the_user_may_look_into_another(children: Children) -> None:
    asks = b"import ctypes, os; os.write(1, b'%d' % ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    assert done(children, asks) == ("0", 0)


def test_a_child_reads_its_file(children: Children) -> None:
    with pipe() as (source, lines), children.at_work(b"import os; os.write(1, os.read(0, 9)[::-1])", source) as child:
        lines.write(b"abc")
        lines.close()
        assert child.output.read() == b"cba"


def test_a_child_ends_with_the_block_that_had_it(children: Children) -> None:
    with at_work(children, SLEEPS) as child:
        pid, parent = said(child)
        assert alive(pid)
    assert not Path(f"/proc/{pid}").exists()
    assert child.exit_code == -signal.SIGKILL
    assert warm(children) == parent


def test_many_threads_have_children_at_once(children: Children) -> None:
    all_at_work = threading.Barrier(8)

    def work(number: int) -> int:
        with at_work(children, b"import os; os.write(1, b'%d\\n'); os.read(0, 1)" % number) as child:
            all_at_work.wait(PATIENCE_SECONDS)
            return int(child.output.read())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == list(range(24))


def test_nothing_is_left_of_children(children: Children) -> None:
    parent = warm(children)
    before = open_files()
    for _ in range(50):
        assert done(children, b"pass") == ("", 0)
    assert open_files() == before
    assert Path(f"/proc/{parent}/task/{parent}/children").read_text() == ""
    assert warm(children) == parent


def test_it_outlives_the_thread_that_started_it() -> None:
    made = Children(COMMAND, {})
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(warm, made).result()
    assert warm(made) == started
    made.leave()
    wait_until(lambda: not alive(started))


def test_signals_to_all_do_not_end_it_before_its_owner(children: Children) -> None:
    parent = warm(children)
    assert os.getsid(parent) == parent
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(parent, number)
        assert warm(children) == parent


def test_a_lost_process_loses_its_children_and_is_started_anew(children: Children) -> None:
    with at_work(children, SLEEPS) as child:
        pid, parent = said(child)
        os.kill(parent, signal.SIGKILL)
        assert child.output.read() == b""
        child.wait(PATIENCE_SECONDS)
        assert child.exit_code is None
    wait_until(lambda: not alive(pid))
    again = warm(children)
    assert again != parent
    wait_until(lambda: warm(children) == again and not Path(f"/proc/{parent}").exists())


def test_after_a_crash_another_process_takes_the_tasks_and_those_under_way_are_done(children: Children) -> None:
    goes_on = SAYS_WHO + b"; os.read(0, 1); os.write(1, b'done')"
    with pipe() as (source, lines), children.at_work(goes_on, source) as child:
        _, parent = said(child)
        crash = b"import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        assert done(children, crash) == ("", -signal.SIGSEGV)
        assert warm(children) != parent
        lines.close()
        assert child.output.read() == b"done"
        child.wait(PATIENCE_SECONDS)
        assert child.exit_code == 0
    wait_until(lambda: not alive(parent))


def test_it_ends_with_its_owner_whatever_forks_are_left() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        told = [[int(pid) for pid in owner.stdout.readline().split()] for _ in range(4)]
        (fork,) = {line[0] for line in told if len(line) == 1} - {owner.pid}
        owner.kill()
    pids = {pid for line in told for pid in line}
    assert len(pids) == 6  # the two, and a child and a warm process of each
    wait_until(lambda: sum(map(alive, pids)) == 3)
    os.kill(fork, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)))


def test_an_export_loads_nothing_that_its_parent_has_not() -> None:
    exports = """
import sys
from service.codecs import arrow_process
arrow_process.load()
before = set(sys.modules)
arrow_process.work(b'{"type": "export", "columns": [{"name": "id", "type": "text"}]}')
sys.exit(str(set(sys.modules) - before) if set(sys.modules) - before else 0)
"""
    command = [sys.executable, "-I", "-c", exports]
    ended = subprocess.run(command, input=b'{"id": "a"}\n', capture_output=True, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout[:4]) == (0, b"", b"PAR1")


def test_an_export_whose_process_is_lost_says_so() -> None:
    pieces = write_parquet(({"id": os.urandom(1000).hex()} for _ in range(100_000)), [Column("id")])
    next(pieces)
    os.kill(table_process(), signal.SIGKILL)
    with pytest.raises(ExportError):
        list(pieces)
