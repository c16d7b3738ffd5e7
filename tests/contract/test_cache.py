"""The copies of objects on a host."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from service.storage.cache import Download, FileCache
from tests.support.redis_server import PATIENCE_SECONDS


def read(cache: FileCache, name: str, data: bytes) -> tuple[bytes, bool]:
    """The copy of `name`, which is `data` where it comes from; and whether it was fetched from there."""
    fetched = []

    def fetch() -> Download:
        fetched.append(name)
        return Download(len(data), iter((data,)))

    with cache.open(name, fetch) as file:
        return file.read(), bool(fetched)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def test_what_is_here_is_not_fetched_again_by_any_process(tmp_path: Path) -> None:
    assert read(FileCache(tmp_path, 100), "a", b"one") == (b"one", True)
    cache = FileCache(tmp_path, 100)
    assert read(cache, "a", b"two") == (b"one", False)
    cache.forget("a")
    cache.forget("a")
    assert read(cache, "a", b"two") == (b"two", True)


def test_what_was_used_least_recently_leaves(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 300)
    for at, name in enumerate("abc"):
        read(cache, name, name.encode() * 100)
        for path in tmp_path.glob("*"):  # all of it happens within the grain of the clock
            os.utime(path, (at, at)) if path.is_file() and path.stat().st_mtime > at else None
    assert read(cache, "a", b"") == (b"a" * 100, False)
    with cache.open("b", lambda: pytest.fail("it is here")) as reader:
        os.utime(reader.fileno(), (0, 0))
        read(cache, "d", b"d" * 150)
        assert bytes_in(tmp_path) <= 300
        assert reader.read() == b"b" * 100  # whoever has it open keeps it
    assert [read(cache, name, b"")[1] for name in "adbc"] == [False, False, True, True]


def test_one_of_many_fetches(tmp_path: Path) -> None:
    cache, begun, go_on = FileCache(tmp_path, 100), Event(), Event()
    fetched = []

    def slowly() -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        yield b"data"

    def fetch() -> Download:
        fetched.append(1)
        return Download(4, slowly())

    def one(_: int) -> bytes:
        with FileCache(tmp_path, 100).open("a", fetch) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(one, range(8))
        assert begun.wait(PATIENCE_SECONDS)
        assert read(cache, "b", b"other") == (b"other", True)  # nobody waits for another object
        go_on.set()
        assert list(found) == [b"data"] * 8
    assert fetched == [1]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        cache.open("a", lambda: Download(8, broken()))
    assert bytes_in(tmp_path) == 0
    assert read(cache, "a", b"whole") == (b"whole", True)


def test_what_is_larger_than_all_room_is_read_and_not_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10)
    assert read(cache, "small", b"x") == (b"x", True)
    assert read(cache, "large", b"y" * 11) == (b"y" * 11, True)
    assert bytes_in(tmp_path) == 1
    assert read(cache, "small", b"") == (b"x", False)


def test_without_room_everything_is_fetched(tmp_path: Path) -> None:
    read(FileCache(tmp_path, 10), "a", b"kept before")
    cache = FileCache(tmp_path, 0)
    assert [read(cache, "a", data) for data in (b"1", b"2")] == [(b"1", True), (b"2", True)]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    for name, age in (("partial-old", 7200), ("partial-new", 0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    read(cache, "a", b"x")
    assert sorted(path.name for path in tmp_path.glob("partial-*")) == ["partial-new"]
