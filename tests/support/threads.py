"""Threads that work beside a test."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def at_work(work: Callable[[int], None], *, threads: int, over: threading.Event) -> Iterator[None]:
    """Let threads `work`, each by its number, until the block ends, which sets `over`; what one raises is raised."""
    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work, number) for number in range(threads)]
        try:
            yield
        finally:
            over.set()
    for done in working:
        done.result()
