"""Requests for one thing that come at the same time are done together: a commit costs more than what it commits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Groups(Generic[Item, Result]):
    """While one group of a key is done in a thread, what comes for the same key gathers for the next.

    Nobody waits for a group to fill up: alone, an item is done at once. Used from one event loop.

    Args:
        do: Does some items of one key; gives each one's result or error in their order, or raises for all of them.
        most: Items of a group.
        most_bytes: Size of a group; what is larger alone is done beside the groups, as it takes longer.
    """

    def __init__(
        self, do: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, most: int, most_bytes: int
    ) -> None:
        self._do = do
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: dict[str, deque[tuple[Item, int, asyncio.Future[Result]]]] = {}
        self._serving: set[asyncio.Task[None]] = set()  # the loop itself holds its tasks only weakly

    async def submit(self, key: str, item: Item, *, size: int) -> Result:
        """Do an item of so many bytes with the next group of its key."""
        if size > self._most_bytes:
            (result,) = await run_in_threadpool(self._do, [item])
            if isinstance(result, Exception):
                raise result
            return result
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if key in self._waiting:
            self._waiting[key].append((item, size, future))
        else:
            self._waiting[key] = deque([(item, size, future)])
            task = asyncio.create_task(self._serve(key))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        return await future

    async def _serve(self, key: str) -> None:
        """Do group after group until nobody waits."""
        waiting = self._waiting[key]
        while waiting:
            items, futures = self._next(waiting)
            try:
                results = await run_in_threadpool(self._do, items)
            except Exception as error:  # noqa: BLE001 - each of those who wait raises it
                results = [error] * len(items)
            for future, result in zip(futures, results, strict=True):
                if future.done():  # its request was cancelled
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        del self._waiting[key]

    def _next(
        self, waiting: deque[tuple[Item, int, asyncio.Future[Result]]]
    ) -> tuple[list[Item], list[asyncio.Future[Result]]]:
        items: list[Item] = []
        futures: list[asyncio.Future[Result]] = []
        total = 0
        while waiting and len(items) < self._most and total + waiting[0][1] <= self._most_bytes:
            item, size, future = waiting.popleft()
            items.append(item)
            futures.append(future)
            total += size
        return items, futures
