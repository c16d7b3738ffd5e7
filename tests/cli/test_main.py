import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.lock import hold
from service.cli.main import COMMANDS, main


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
    environment = {"GLEANER_THREADS": "-17", "GLEANER_LOG_LEVEL": "loud", "GLEANER_WEBHOOK_ALLOW": "here"}
    result = CliRunner().invoke(main, ["migrate"], env=environment)
    assert result.exit_code == 1
    assert all(name in result.output for name in environment)
    assert not any(value in result.output for value in ("-17", "loud", "here"))


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


def test_unknown_queues_are_refused() -> None:
    result = CliRunner().invoke(main, ["worker", "--queues", "training,slow"])
    assert result.exit_code == 2
    assert "interactive, training, maintenance" in result.output


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
