"""Random bits for ids, which are no secrets."""

import os
from random import Random

# To ask the system for each would hand Python's lock to another thread, for milliseconds at times.
_random = Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def bits(count: int) -> int:
    """A number of so many random bits; processes that were forked have others."""
    return _random.getrandbits(count)
