import asyncio
from collections.abc import Sequence
from threading import Event

import pytest

from service.api.deps.grouping import Groups
from tests.support.redis_server import PATIENCE_SECONDS, wait_until


class Recorded:
    """What is done to the items: it waits for `go`, and tells of each group."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.started, self.go = Event(), Event()

    def __call__(self, items: Sequence[str]) -> list[str | Exception]:
        self.groups.append(list(items))
        self.started.set()
        assert self.go.wait(PATIENCE_SECONDS)
        if "broken" in items:
            raise RuntimeError("all of them")
        return [ValueError(item) if item == "bad" else item.upper() for item in items]


async def behind_first(groups: Groups[str, str], done: Recorded, *items: str, size: int = 1) -> list[object]:
    """The results of items that came while the first was being done."""
    first = asyncio.create_task(groups.submit("a", "first", size=1))
    await asyncio.to_thread(done.started.wait, PATIENCE_SECONDS)
    others = [asyncio.create_task(groups.submit("a", item, size=size)) for item in items]
    await asyncio.sleep(0)
    done.go.set()
    return list(await asyncio.gather(first, *others, return_exceptions=True))


def test_what_comes_while_a_group_is_done_is_done_together() -> None:
    done = Recorded()
    results = asyncio.run(behind_first(Groups(done, most=64, most_bytes=100), done, "x", "bad", "y"))
    assert done.groups == [["first"], ["x", "bad", "y"]]
    assert results[:2] == ["FIRST", "X"]
    assert isinstance(results[2], ValueError)
    assert results[3] == "Y"


def test_a_group_has_bounds() -> None:
    done = Recorded()
    asyncio.run(behind_first(Groups(done, most=2, most_bytes=100), done, "a", "b", "c"))
    assert done.groups[1:] == [["a", "b"], ["c"]]
    done = Recorded()
    asyncio.run(behind_first(Groups(done, most=64, most_bytes=100), done, "a", "b", "c", size=50))
    assert done.groups[1:] == [["a", "b"], ["c"]]


def test_an_error_of_a_group_reaches_all_of_it_and_nobody_else() -> None:
    done = Recorded()
    results = asyncio.run(behind_first(Groups(done, most=64, most_bytes=100), done, "x", "broken"))
    assert results[0] == "FIRST"
    assert [str(result) for result in results[1:]] == ["all of them"] * 2


def test_large_items_and_other_keys_wait_for_no_group() -> None:
    done = Recorded()

    async def play() -> None:
        groups = Groups(done, most=64, most_bytes=100)
        waiting = [asyncio.create_task(groups.submit("a", "slow", size=1))]
        await asyncio.to_thread(done.started.wait, PATIENCE_SECONDS)
        waiting.append(asyncio.create_task(groups.submit("b", "other", size=1)))
        waiting.append(asyncio.create_task(groups.submit("a", "large", size=101)))
        await asyncio.to_thread(wait_until, lambda: len(done.groups) == len(waiting))
        assert sorted(done.groups) == [["large"], ["other"], ["slow"]]
        done.go.set()
        await asyncio.gather(*waiting)

    asyncio.run(play())


def test_a_cancelled_request_takes_nobody_with_it() -> None:
    done = Recorded()

    async def play() -> str:
        groups = Groups(done, most=64, most_bytes=100)
        first = asyncio.create_task(groups.submit("a", "first", size=1))
        await asyncio.to_thread(done.started.wait, PATIENCE_SECONDS)
        gone, stays = (asyncio.create_task(groups.submit("a", item, size=1)) for item in ("gone", "stays"))
        await asyncio.sleep(0)
        first.cancel()
        gone.cancel()
        done.go.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await stays

    assert asyncio.run(play()) == "STAYS"


def test_behind_a_group_of_several_the_next_waits_for_as_many() -> None:
    done = Recorded()

    async def play() -> None:
        groups = Groups(done, most=64, most_bytes=100, patience=PATIENCE_SECONDS)
        await behind_first(groups, done, "x", "y")
        third = asyncio.create_task(groups.submit("a", "z", size=1))
        await asyncio.sleep(0.05)
        assert done.groups == [["first"], ["x", "y"]], "it waits for a fourth"
        await asyncio.gather(third, groups.submit("a", "w", size=1))
        assert done.groups[2:] == [["z", "w"]]

    asyncio.run(play())


def test_it_goes_on_waiting_while_more_come_until_it_has_enough() -> None:
    done = Recorded()

    async def play() -> None:
        groups = Groups(done, most=64, most_bytes=100, enough=4, patience=PATIENCE_SECONDS, lull=PATIENCE_SECONDS)
        await behind_first(groups, done, "x", "y")
        three = [asyncio.create_task(groups.submit("a", item, size=1)) for item in "stu"]
        await asyncio.sleep(0.05)
        assert done.groups == [["first"], ["x", "y"]], "it waits for a fourth"
        await asyncio.gather(*three, groups.submit("a", "v", size=1))
        assert done.groups[2:] == [["s", "t", "u", "v"]]

    asyncio.run(play())


def test_nobody_waits_long_for_others_who_do_not_come() -> None:
    done = Recorded()

    async def play() -> None:
        groups = Groups(done, most=64, most_bytes=100, patience=0.01)
        await behind_first(groups, done, "x", "y")
        assert await asyncio.wait_for(groups.submit("a", "alone", size=1), PATIENCE_SECONDS) == "ALONE"

    asyncio.run(play())
