"""`gleaner`, killed when it calls a function for the nth time, or let end, in a process of its own."""

import itertools
import os
import pkgutil
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

from service.cli.main import main
from tests.support.forks import forks
from tests.support.redis_server import PATIENCE_SECONDS


def run_killed(name: str, number: int, *words: object, environment: Mapping[str, str]) -> int | None:
    """Run a command in a process that kills itself with SIGKILL at that call; return the exit code."""
    process = started(*words, environment=environment, killed_at=(name, number))
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def started(
    *words: object, environment: Mapping[str, str], killed_at: tuple[str, int] | None = None
) -> ForkServerProcess:
    """Start a command."""
    process = forks().Process(target=_run, args=([str(word) for word in words], dict(environment), killed_at))
    process.start()
    return process


def _run(words: list[str], environment: dict[str, str], killed_at: tuple[str, int] | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if killed_at is not None:
        _kill_at(*killed_at)
    main(words)


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
