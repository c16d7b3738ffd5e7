"""How the modules of a process are imported when it starts."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Our libraries import these where they are installed, for uses that are not ours, which is a third of a worker's start:
# redis takes the metrics of opentelemetry, scikit-learn takes pandas, skops takes pytest, and structlog takes rich.
_UNUSED = ("opentelemetry.sdk.metrics", "pandas", "pytest", "rich")


@contextmanager
def no_search() -> Iterator[None]:
    """Search for no garbage while modules are imported, which makes none and takes a fifth longer with it."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


@contextmanager
def lean() -> Iterator[None]:
    """Import libraries, searching for no garbage, as if what they can do without were not installed.

    Code of plug-ins, which may want it, is not to be imported here.
    """
    hidden = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: as Python says that there is none
    try:
        with no_search():
            yield
    finally:
        for name in hidden:
            del sys.modules[name]
