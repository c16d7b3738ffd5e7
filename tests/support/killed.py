"""`gleaner`, killed when it calls a function for the nth time: `python -m tests.support.killed NAME N WORD...`."""

import itertools
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from service.cli.main import main

ROOT = Path(__file__).parents[2]


def run_killed(name: str, number: int, *words: object, environment: dict[str, str]) -> int:
    """Run a command in a process that kills itself with SIGKILL at that call; return the exit code."""
    command = [sys.executable, "-m", "tests.support.killed", name, str(number), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60).returncode


def _kill_at(name: str, number: int) -> None:
    """Let the function called `name`, with its module and perhaps its class, end this process at its nth call."""
    place, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(place)
    called, calls = getattr(owner, attribute), itertools.count(1)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*args, **kwargs)

    setattr(owner, attribute, counted)


if __name__ == "__main__":
    _kill_at(sys.argv[1], int(sys.argv[2]))
    main(sys.argv[3:])
