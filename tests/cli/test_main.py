import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import ProgrammingError

from service.actions import keys
from service.cli.configuration import load_settings
from service.cli.lock import hold
from service.cli.main import COMMANDS, main
from service.settings import Settings


def test_help_lists_every_command_and_imports_none() -> None:
    code = "import sys; from service.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in output for name in COMMANDS)
    assert not {"pydantic", "sqlalchemy", "rq", "sklearn", "service.cli.up"} & set(output.split())


def test_the_supervisor_imports_nothing_heavy() -> None:
    code = "import sys, service.cli.up; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"sqlalchemy", "redis", "rq", "fastapi", "uvicorn", "numpy", "sklearn"} & set(output.split())


@pytest.mark.parametrize("name", ["up", "serve", "worker", "dispatcher", "migrate", "openapi"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name}")


def test_every_bad_setting_is_named_at_once_and_no_value_is_shown() -> None:
    environment = {
        "GLEANER_THREADS": "-17",
        "GLEANER_DASK_SCHEDULER": "there:8786",
        "GLEANER_LOG_LEVEL": "loud",
        "GLEANER_WEBHOOK_ALLOW": "here",
        "GLEANER_DATABASE_URL": "mysql://there",
        "GLEANER_REDIS_URL": "there:6379",
        "GLEANER_OBJECTS_URL": "bucket-only",
        "GLEANER_S3_ENDPOINT": "http://somebody:word@host",
        "GLEANER_S3_ACCESS_KEY": "lonely",
        "GLEANER_METRICS_ADDRESS": "9464",
        "GLEANER_ADMIN_KEY": "gln_changeme_changeme",
        "GLEANER_SECRET_KEY": "abc",
        "GLEANER_OLD_SECRET_KEYS": "xyz",
    }
    result = CliRunner().invoke(main, ["migrate"], env=environment)
    assert result.exit_code == 1
    assert all(name in result.output for name in environment)
    assert not any(value in result.output for value in environment.values())


@pytest.mark.parametrize(
    ("name", "url", "is_good"),
    [
        ("DATABASE_URL", "postgresql+psycopg://me:hush@db:5432/gleaner", True),
        ("DATABASE_URL", "postgresql://me:hu/sh@[::1]/gleaner", True),
        ("DATABASE_URL", "postgresql+psycopg://me@there:hush@db:5432/gleaner", True),
        ("DATABASE_URL", "postgresql:///gleaner?host=/tmp/a:b", True),
        ("DATABASE_URL", "sqlite:////tmp/a:b/gleaner.sqlite3", True),
        ("DATABASE_URL", "postgresql://me:hush@db:many/gleaner", False),
        ("DATABASE_URL", "postgresql://db:70000/gleaner", False),
        ("DATABASE_URL", "postgresql://db:-1/gleaner", False),
        ("REDIS_URL", "redis://:hush@redis:6379/0", True),
        ("REDIS_URL", "redis://:hu@sh:hush@redis:6379/0", True),
        ("REDIS_URL", "unix:///tmp/a:b", True),
        ("REDIS_URL", "unix://me:hu@sh:hush@/tmp/a", True),
        ("REDIS_URL", "redis://me@there:hush@redis:6379/0", True),
        ("REDIS_URL", "redis://redis:6379/0?client_name=a@b:c", True),
        ("REDIS_URL", "redis://redis:many", False),
        ("METRICS_ADDRESS", "[::1]:9464", True),
        ("METRICS_ADDRESS", "127.0.0.1:94640", False),
    ],
)
def test_a_port_that_is_none_is_told(name: str, url: str, *, is_good: bool) -> None:
    result = CliRunner().invoke(main, ["migrate", "--print-config"], env={f"GLEANER_{name}": url})
    assert (result.exit_code == 0) is is_good
    assert (f"GLEANER_{name}: Value error, the port is no number" in result.output) is not is_good


def test_a_mistyped_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    others = {"GLEANER_PORT": "tcp://10.0.0.1:8000", "GLEANER_API_SERVICE_HOST": "10.0.0.1"}
    environment = {"GLEANER_DATA_DIR": str(tmp_path), "GLEANER_KEEP_JOB_DAYS": "0", **others}
    result = CliRunner().invoke(main, ["migrate"], env=environment)
    assert result.exit_code == 1
    assert "GLEANER_KEEP_JOB_DAYS: there is no such setting. Did you mean `GLEANER_KEEP_JOBS_DAYS`?" in result.output
    assert not any(name in result.output for name in others)


def test_what_looks_like_a_setting_and_is_none_is_told(tmp_path: Path) -> None:
    others = {
        "GLEANER_PORT": "tcp://10.0.0.1:8000",
        "GLEANER_SERVICE_PORT_HTTP": "80",
        "GLEANER_PORT_80_TCP_PORT": "80",
    }
    environment = {"GLEANER_DATA_DIR": str(tmp_path), "GLEANER_HOST": "here", **others}
    told = CliRunner().invoke(main, ["up", "--print-config"], env=environment).stderr
    assert "GLEANER_HOST" in told
    assert "there is no such setting" in told
    assert not any(name in told for name in others)
    assert "GLEANER_PORT" in CliRunner().invoke(main, ["up", "--print-config"], env={"GLEANER_PORT": "8123"}).stderr


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root, who may write everywhere
    result = CliRunner().invoke(main, ["up"], env={"GLEANER_DATA_DIR": str(tmp_path)})
    assert result.exit_code == 1
    assert f"The folder {tmp_path} of GLEANER_DATA_DIR cannot be written to by this user." in result.output


def test_a_database_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hush@127.0.0.1:1/gleaner"
    result = CliRunner().invoke(main, ["migrate"], env={"GLEANER_DATA_DIR": str(tmp_path), "GLEANER_DATABASE_URL": url})
    assert result.exit_code == 1
    assert result.output.startswith("Error: The database cannot be prepared: ")
    assert "refused" in result.output
    assert "hush" not in result.output


def test_a_file_that_is_no_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"no database" * 1000)
    environment = {"GLEANER_DATA_DIR": str(tmp_path), "GLEANER_DATABASE_URL": f"sqlite:///{other}"}
    result = CliRunner().invoke(main, ["migrate"], env=environment)
    assert (result.exit_code, result.output) == (1, "Error: The database cannot be prepared: file is not a database\n")


def test_what_a_database_refuses_is_told_with_the_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ProgrammingError("INSERT INTO\n  api_keys", {}, Exception("permission denied for table api_keys"))

    monkeypatch.setattr(keys, "ensure_admin", refuse)
    result = CliRunner().invoke(main, ["migrate"], env={"GLEANER_DATA_DIR": str(tmp_path)})
    told = "The database cannot be prepared: permission denied for table api_keys (to `INSERT INTO api_keys`)"
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, f"Error: {told}")


def test_the_engine_dask_needs_a_scheduler(tmp_path: Path) -> None:
    environment = {"GLEANER_DATA_DIR": str(tmp_path), "GLEANER_PARALLEL": "dask"}
    result = CliRunner().invoke(main, ["worker"], env=environment)
    assert result.exit_code == 1
    assert "GLEANER_PARALLEL=dask needs GLEANER_DASK_SCHEDULER" in result.output


@pytest.mark.parametrize("role", ["up", "serve", "worker", "dispatcher", "migrate"])
def test_the_settings_in_force_are_shown_without_secrets(role: str, tmp_path: Path) -> None:
    environment = {
        "GLEANER_DATA_DIR": str(tmp_path / "data"),
        "GLEANER_DATABASE_URL": "postgresql+psycopg://me:hush1@db/gleaner?sslpassword=hush2&connect_timeout=3",
        "GLEANER_REDIS_URL": "redis://:hush3@redis:6379/0",
        "GLEANER_SECRET_KEY": "0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
        "GLEANER_OBJECTS_URL": "s3://bucket/prefix",
        "GLEANER_S3_ACCESS_KEY": "gleaner",
        "GLEANER_S3_SECRET_KEY": "hush4",
        "GLEANER_WEBHOOK_ALLOW": "10.0.0.0/8, 127.0.0.0/8",
    }
    result = CliRunner().invoke(main, [role, "--print-config"], env=environment)
    assert result.exit_code == 0
    shown = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert shown.keys() == {f"GLEANER_{name.upper()}" for name in Settings.model_fields}
    assert shown["GLEANER_DATA_DIR"] == environment["GLEANER_DATA_DIR"]
    assert shown["GLEANER_DATABASE_URL"] == "postgresql+psycopg://me:...@db/gleaner?sslpassword=...&connect_timeout=3"
    assert shown["GLEANER_SECRET_KEY"] == "..."  # noqa: S105 - what stands for it
    assert (shown["GLEANER_S3_ACCESS_KEY"], shown["GLEANER_S3_SECRET_KEY"]) == ("gleaner", "...")
    assert (shown["GLEANER_ADMIN_KEY"], shown["GLEANER_WEBHOOK_ALLOW"]) == ("", "10.0.0.0/8,127.0.0.0/8")
    assert "hush" not in result.output
    assert not (tmp_path / "data").exists()


def test_secrets_come_from_files_and_variables_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gleaner_redis_url").write_text("redis://:of-the-file@there:6379/0\n")
    (tmp_path / "gleaner_log_level").write_text("debug\n")
    monkeypatch.setenv("GLEANER_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("GLEANER_LOG_LEVEL", "error")
    settings = load_settings()
    assert (settings.queue_url, settings.log_level) == ("redis://:of-the-file@there:6379/0", "error")


def test_a_weak_secret_in_a_file_and_a_folder_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gleaner_secret_key").write_text("short")
    for folder, name in ((tmp_path, "GLEANER_SECRET_KEY"), (tmp_path / "none", "GLEANER_SECRETS_DIR")):
        result = CliRunner().invoke(main, ["serve"], env={"GLEANER_SECRETS_DIR": str(folder)})
        assert result.exit_code == 1
        assert name in result.output


def test_a_default_admin_key_is_refused() -> None:
    result = CliRunner().invoke(main, ["migrate"], env={"GLEANER_ADMIN_KEY": "gln_changeme_changeme"})
    assert result.exit_code == 1
    assert "GLEANER_ADMIN_KEY looks like a default" in result.output


@pytest.mark.parametrize("value", ["", "short", "change-me-change-me-change-me", "a" * 40])
@pytest.mark.parametrize("role", ["up", "serve", "worker", "dispatcher", "migrate"])
def test_no_role_starts_with_a_weak_secret(role: str, value: str, tmp_path: Path) -> None:
    environment = {"GLEANER_SECRET_KEY": value, "GLEANER_DATA_DIR": str(tmp_path)}
    result = CliRunner().invoke(main, [role], env=environment)
    assert result.exit_code == 1
    assert "GLEANER_SECRET_KEY" in result.output


@pytest.mark.parametrize("value", ["short", "change-me-change-me-change-me", "a" * 40])
@pytest.mark.parametrize("role", ["up", "serve", "worker", "dispatcher", "migrate"])
def test_no_role_opens_with_a_weak_secret_of_before(role: str, value: str, tmp_path: Path) -> None:
    environment = {
        "GLEANER_SECRET_KEY": "0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
        "GLEANER_OLD_SECRET_KEYS": f"5c6b7a8f9e0d1c2b3a4f5e6d7c8b9a0f, {value}",
        "GLEANER_DATA_DIR": str(tmp_path),
    }
    result = CliRunner().invoke(main, [role], env=environment)
    assert result.exit_code == 1
    assert "GLEANER_OLD_SECRET_KEYS" in result.output
    assert value not in result.output


@pytest.mark.parametrize("role", ["up", "serve", "worker", "dispatcher", "migrate"])
def test_no_role_starts_in_a_folder_that_is_open_to_all(role: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    result = CliRunner().invoke(main, [role], env={"GLEANER_DATA_DIR": str(tmp_path)})
    assert result.exit_code == 1
    assert f"chmod o-rwx {tmp_path}" in result.output


def test_no_role_keeps_copies_in_a_folder_that_is_open_to_all(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    named = {"GLEANER_DATA_DIR": str(tmp_path / "data"), "GLEANER_CACHE_DIR": str(cache)}
    result = CliRunner().invoke(main, ["migrate"], env={**named, "GLEANER_OBJECTS_URL": "s3://bucket"})
    assert result.exit_code == 1
    assert f"chmod o-rwx {cache}" in result.output


def test_no_role_starts_while_the_object_store_is_away(tmp_path: Path) -> None:
    store = {
        "GLEANER_OBJECTS_URL": "s3://bucket",
        "GLEANER_S3_ENDPOINT": "http://127.0.0.1:1",
        "GLEANER_S3_ATTEMPTS": "1",
    }
    keys = {"GLEANER_S3_ACCESS_KEY": "access", "GLEANER_S3_SECRET_KEY": "a secret of the tests"}
    result = CliRunner().invoke(main, ["migrate"], env={"GLEANER_DATA_DIR": str(tmp_path / "data"), **store, **keys})
    assert result.exit_code == 1
    assert "The object store does not answer: Could not connect" in result.output
    assert keys["GLEANER_S3_SECRET_KEY"] not in result.output


def test_unknown_queues_are_refused() -> None:
    result = CliRunner().invoke(main, ["worker", "--queues", "training,slow"])
    assert result.exit_code == 2
    assert "interactive, training, maintenance" in result.output


@pytest.mark.parametrize("command", [("worker", "--queues", "slow"), ("worker",), ("dispatcher",)])
def test_a_role_that_does_not_start_leaves_the_search_for_garbage_on(command: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, command, env={"GLEANER_SECRET_KEY": "short"}).exit_code != 0
    assert gc.isenabled()


def test_migrate_makes_the_admin_key_once_and_shows_it_once(tmp_path: Path) -> None:
    environment = {"GLEANER_DATA_DIR": str(tmp_path / "data")}
    first, second = (CliRunner().invoke(main, ["migrate"], env=environment) for _ in range(2))
    key = (tmp_path / "data" / "admin-key").read_text().strip()
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert key in first.output
    assert second.output == ""


def test_a_second_instance_on_a_folder_refuses(tmp_path: Path) -> None:
    with hold(tmp_path):
        result = CliRunner().invoke(main, ["up", "--data-dir", str(tmp_path), "--port", "0"])
    assert result.exit_code == 2
    assert "already runs on" in result.output


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = CliRunner().invoke(main, ["up", "--data-dir", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["gleaner.lock"]
