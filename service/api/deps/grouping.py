"""Requests for one thing that come at the same time are done together: a commit costs more than what it commits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Groups(Generic[Item, Result]):
    """While one group of a key is done in a thread, what comes for the same key gathers for the next.

    What comes alone is done at once. Behind a group of several, the next one waits a moment until it is as large, and
    goes on while more come one upon the other: many clients then cost few transactions, and one client never waits.
    Used from one event loop.

    Args:
        do: Does some items of one key; gives each one's result or error in their order, or raises for all of them.
        most: Items of a group.
        most_bytes: Size of a group; what is larger alone is done beside the groups, as it takes longer.
        enough: Items for which a group waits at most.
        patience: Seconds that it waits at most.
        lull: Seconds without another item after which a group that is large enough waits no longer.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        most: int,
        most_bytes: int,
        enough: int = 24,
        patience: float = 0.05,
        lull: float = 0.003,
    ) -> None:
        self._do = do
        self._most = most
        self._most_bytes = most_bytes
        self._enough = enough
        self._patience = patience
        self._lull = lull
        self._lines: dict[str, _Line[Item, Result]] = {}
        self._serving: set[asyncio.Task[None]] = set()  # the loop itself holds its tasks only weakly

    async def submit(self, key: str, item: Item, *, size: int) -> Result:
        """Do an item of so many bytes with the next group of its key."""
        if size > self._most_bytes:
            (result,) = await run_in_threadpool(self._do, [item])
            if isinstance(result, Exception):
                raise result
            return result
        if key not in self._lines:
            self._lines[key] = _Line()
            task = asyncio.create_task(self._serve(key))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        return await self._lines[key].join(item, size)

    async def _serve(self, key: str) -> None:
        """Do group after group until nobody comes any more."""
        line = self._lines[key]
        before = 1
        while await line.gather(before, enough=self._enough, patience=self._patience, lull=self._lull):
            items, futures = line.take(most=self._most, most_bytes=self._most_bytes)
            before = len(items)
            results: Sequence[Result | Exception]
            try:
                results = await run_in_threadpool(self._do, items)
                if len(results) != len(items):
                    raise RuntimeError(f"{len(items)} items have {len(results)} results.")  # noqa: TRY301 - all raise it
            except Exception as error:  # noqa: BLE001 - each of those who wait raises it
                results = [error] * len(items)
            for future, result in zip(futures, results, strict=True):
                if future.done():  # its request was cancelled
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        del self._lines[key]


class _Line(Generic[Item, Result]):
    """Those who wait for the next group of a key."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()

    def join(self, item: Item, size: int) -> asyncio.Future[Result]:
        """Wait in line; the future is that of the result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, size, future))
        self._arrived.set()
        return future

    async def gather(self, wanted: int, *, enough: int, patience: float, lull: float) -> bool:
        """Wait a moment until so many are in line, then while more come; whether anybody is."""
        if wanted > 1:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while len(self._waiting) < enough:
                        self._arrived.clear()
                        async with asyncio.timeout(lull if len(self._waiting) >= wanted else None):
                            await self._arrived.wait()
        return bool(self._waiting)

    def take(self, *, most: int, most_bytes: int) -> tuple[list[Item], list[asyncio.Future[Result]]]:
        """Those who are first in line, up to the bounds of a group."""
        items: list[Item] = []
        futures: list[asyncio.Future[Result]] = []
        total = 0
        while self._waiting and len(items) < most and total + self._waiting[0][1] <= most_bytes:
            item, size, future = self._waiting.popleft()
            items.append(item)
            futures.append(future)
            total += size
        return items, futures
