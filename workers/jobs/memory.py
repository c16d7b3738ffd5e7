"""How much memory a job may take."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_MIB = 1024 * 1024


@contextmanager
def limited_memory(mib: int) -> Iterator[None]:
    """Within the block, more memory than `mib` for data is refused, as a MemoryError; 0: no limit.

    It counts what the process has of its own: heap, stacks of threads and anonymous mappings, not mapped chunks.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if mib:
        resource.setrlimit(resource.RLIMIT_DATA, (mib * _MIB, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
