import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.lock import LOCK_NAME, FolderInUseError, hold

HOLDER = """
import sys
from pathlib import Path
from service.cli.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_once_and_its_holder_is_named(tmp_path: Path) -> None:
    with hold(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        with pytest.raises(FolderInUseError, match=rf"process {os.getpid()}\)"), hold(tmp_path):
            pass
    assert (tmp_path / LOCK_NAME).read_text() == ""
    with hold(tmp_path):
        pass


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderInUseError, match=str(holder.pid)), hold(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with hold(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
