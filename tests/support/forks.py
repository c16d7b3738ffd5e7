"""Processes that are forked from one which has imported the program and done nothing: new ones would import it anew."""

from multiprocessing import get_context
from multiprocessing.context import ForkServerContext

_IMPORTED = ["service.cli.backup", "service.cli.main", "service.cli.roles", "tests.support.runtime", "pytest"]


def forks() -> ForkServerContext:
    """What starts them; the process that they are forked from is started once, by the first of them."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context
