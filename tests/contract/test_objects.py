import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.storage.artifacts import inputs_prefix, models_prefix, new_inputs_key, new_model_key
from service.storage.local import LocalObjects
from service.storage.memory import MemoryObjects
from service.storage.objects import ObjectNotFoundError, ObjectStore
from service.storage.parts import BLOCK_BYTES, Part, part_of


def test_what_is_put_is_got(objects: ObjectStore) -> None:
    objects.put_bytes("a/b/c.npy", b"one")
    assert objects.get("a/b/c.npy") == b"one"
    assert b"".join(objects.blocks("a/b/c.npy")) == b"one"
    with objects.open("a/b/c.npy") as file:
        assert file.read() == b"one"
    assert objects.exists("a/b/c.npy")
    objects.put_bytes("a/b/c.npy", b"two")
    assert objects.get("a/b/c.npy") == b"two"


def test_a_file_is_taken_over(objects: ObjectStore) -> None:
    source = objects.scratch()
    source.write_bytes(b"x" * 100_000)
    objects.put("big", source)
    assert objects.get("big") == b"x" * 100_000
    assert not source.exists()


def test_scratch_files_are_not_objects(objects: ObjectStore) -> None:
    objects.scratch().write_bytes(b"unfinished")
    assert list(objects.list()) == []


def test_what_is_not_there_is_not_found(objects: ObjectStore) -> None:
    objects.put_bytes("a/b", b"")
    for key in ("c", "a", "a/b/c"):
        assert not objects.exists(key)
        with pytest.raises(ObjectNotFoundError):
            objects.get(key)
        with pytest.raises(ObjectNotFoundError):
            objects.open(key)
        with pytest.raises(ObjectNotFoundError):
            objects.blocks(key)


def test_keys_are_listed_by_their_age(objects: ObjectStore) -> None:
    objects.put_bytes("a", b"")
    assert list(objects.list(older_than_seconds=3600)) == []
    assert list(objects.list(older_than_seconds=-3600)) == ["a"]


def test_an_object_is_read_in_blocks(objects: ObjectStore) -> None:
    data = np.random.default_rng(0).bytes(3 * BLOCK_BYTES + 7)
    objects.put_bytes("a", data)
    assert part_of(objects.blocks("a")) == Part(len(data), hashlib.sha256(data).hexdigest())


def test_deleting_is_idempotent(objects: ObjectStore) -> None:
    objects.put_bytes("a", b"1")
    objects.delete("a")
    objects.delete("a")
    assert not objects.exists("a")


def test_prefixes_end_at_a_slash(objects: ObjectStore) -> None:
    for key in ("p/1/x", "p/1/y/z", "p/10/x", "q"):
        objects.put_bytes(key, b"")
    assert list(objects.list("p/1/")) == ["p/1/x", "p/1/y/z"]
    assert list(objects.list("none/")) == []
    objects.delete_prefix("p/1/")
    objects.delete_prefix("p/1/")
    assert list(objects.list()) == ["p/10/x", "q"]


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../b", "a/./b", ".hidden", "A", "a b", "a\n", "é", "a\0", "x" * 513]
)
def test_odd_keys_are_refused(objects: ObjectStore, key: str) -> None:
    for operation in (objects.get, objects.blocks, objects.open, objects.exists, objects.delete):
        with pytest.raises(ValueError, match="key"):
            operation(key)
    with pytest.raises(ValueError, match="key"):
        objects.put_bytes(key, b"")


@pytest.mark.parametrize("prefix", ["", "a", "/", "../", "a/../"])
def test_odd_prefixes_delete_nothing(objects: ObjectStore, prefix: str) -> None:
    objects.put_bytes("a", b"")
    with pytest.raises(ValueError, match="object"):
        objects.delete_prefix(prefix)
    assert objects.exists("a")


def test_a_path_outlives_its_key(objects: ObjectStore) -> None:
    objects.put_bytes("a", b"old")
    with objects.open("a") as reader:
        objects.put_bytes("a", b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("new_key", [new_model_key, new_inputs_key])
def test_keys_of_artifacts_are_new_each_time(objects: ObjectStore, new_key: Callable[[str], str]) -> None:
    keys = {new_key("prj_1") for _ in range(3)}
    for key in keys:
        objects.put_bytes(key, b"")
    assert set(objects.list()) == keys
    assert len(keys) == 3
    for prefix in (models_prefix("prj_1"), inputs_prefix("prj_1")):
        objects.delete_prefix(prefix)
    assert list(objects.list()) == []


@pytest.mark.parametrize("failing", ["fsync", "replace", "write"])
def test_a_failed_put_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    objects = LocalObjects(tmp_path)
    objects.put_bytes("a/b", b"old")

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        if failing == "fsync":
            patch.setattr(os, "fsync", no_space)
        else:
            patch.setattr(Path, {"replace": "replace", "write": "write_bytes"}[failing], no_space)
        with pytest.raises(OSError, match="no space"):
            objects.put_bytes("a/b", b"new")
        with pytest.raises(OSError, match="no space"):
            objects.put_bytes("a/c", b"new")
    assert objects.get("a/b") == b"old"
    assert list(objects.list()) == ["a/b"]
    assert list((tmp_path / ".scratch").iterdir()) == []


def test_the_bytes_are_durable_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = LocalObjects(tmp_path)
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watching(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(("folder" if name.is_dir() else "file", (tmp_path / "a/b").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    objects.put_bytes("a/b", b"x")
    assert seen == [("file", False), ("folder", False), ("folder", True)]


def test_a_file_on_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = LocalObjects(tmp_path / "objects")
    source = tmp_path / "source"
    source.write_bytes(b"far")
    replace = Path.replace

    def across(self: Path, target: Path) -> Path:
        if self == source:
            raise OSError(errno.EXDEV, "another disk")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    objects.put("a", source)
    assert objects.get("a") == b"far"
    assert not source.exists()


def test_stale_scratch_files_are_cleared(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    old, new = objects.scratch(), objects.scratch()
    old.touch()
    new.touch()
    an_hour_ago = time.time() - 3600
    os.utime(old, (an_hour_ago, an_hour_ago))
    assert objects.clear_scratch(600) == 1
    assert not old.exists()
    assert new.exists()


def test_the_private_folder_goes_with_the_memory_store() -> None:
    objects = MemoryObjects()
    path = objects.scratch()
    path.touch()
    del objects
    assert not path.exists()
