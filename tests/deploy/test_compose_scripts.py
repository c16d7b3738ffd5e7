"""The scripts that start the stack of containers, with an engine and a tool that only say what they were asked."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def run(name: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "GLEANER_SECRETS": str(tmp_path / "secrets"), **variables}
    return subprocess.run([ROOT / "deploy" / name], env=kept, capture_output=True, text=True, check=False, timeout=60)


def test_volumes_of_other_secrets_are_refused_before_anything_starts(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    engine = script(tmp_path / "engine", f'echo "$@" >>{asked}')  # knows every volume
    compose = script(tmp_path / "compose", f'echo compose "$@" >>{asked}')
    done = run("up.sh", tmp_path, ENGINE=engine, COMPOSE=compose, COMPOSE_PROJECT_NAME="mine")
    assert done.returncode == 1
    assert "There are volumes of an earlier stack mine" in done.stderr
    assert "deploy/compose.sh --project-name mine down --volumes" in done.stderr
    assert asked.read_text() == "volume inspect mine_postgres\n"
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize("known", [True, False])
def test_a_stack_starts_with_its_secrets_or_without_volumes(tmp_path: Path, *, known: bool) -> None:
    asked = tmp_path / "asked"
    engine = script(tmp_path / "engine", "true" if known else "false")
    compose = script(tmp_path / "compose", f'echo "$@" >>{asked}')
    if known:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets/complete").touch()
    done = run("up.sh", tmp_path, ENGINE=engine, COMPOSE=compose)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gleaner is ready at http://127.0.0.1:8080" in done.stdout
    assert "run --rm --no-deps -T migrate" in asked.read_text()
    assert (tmp_path / "secrets/complete").exists()


def test_a_tool_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("compose.sh", tmp_path, COMPOSE="no-such-compose")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no no-such-compose: `make setup` brings it" in done.stderr
