"""Rules of the house that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from service.api.deps.runtime import Runtime
from service.db.tables import SCHEMA
from service.db.upgrade import differences, script

ROOT = Path(__file__).parents[2]
LOCKS = [
    ROOT / "requirements.lock",
    *(ROOT / f"deploy/requirements-{name}.lock" for name in ("api", "worker", "build")),
]
SOURCES = [path for folder in ("service", "workers") for path in (ROOT / folder).rglob("*.py")]


def test_the_migrations_build_what_the_tables_declare(runtime: Runtime) -> None:
    assert differences(runtime.database.engine) == []


def test_the_code_needs_the_newest_revision(runtime: Runtime) -> None:
    scripts: ScriptDirectory = script(runtime.database.engine)
    assert scripts.get_heads() == [SCHEMA]


def test_only_the_session_module_commits() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in SOURCES if ".commit(" in path.read_text()}
    assert found == {"service/db/session.py"}


def test_packages_have_empty_init_files() -> None:
    assert [path for path in SOURCES if path.name == "__init__.py" and path.read_text().strip()] == []


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "helpers", "common", "manager", "service", "misc"}
    assert [path for path in SOURCES if path.stem in drawers] == []


def test_nothing_is_pickled() -> None:
    words = ("import pickle", "joblib.load", "joblib.dump", "allow_pickle=True", "import dill", "cloudpickle")
    assert [(path.name, word) for path in SOURCES for word in words if word in path.read_text()] == []


@pytest.mark.parametrize("module", ["service.app", "service.dispatcher.main", "service.cli.roles"])
def test_the_light_roles_load_no_machine_learning_no_arrow_and_no_s3(module: str) -> None:
    heavy = ("sklearn", "scipy", "joblib", "boto3", "pyarrow")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_no_lock_file_names_a_package_index(path: Path) -> None:
    lock = path.read_text()
    assert "://" not in lock
    assert "--hash=sha256:" in lock


@pytest.mark.parametrize("path", LOCKS[1:], ids=lambda path: path.name)
def test_images_hold_what_is_locked_and_tested(path: Path) -> None:
    found = pinned(path)
    assert found <= pinned(LOCKS[0])
    assert ("scikit-learn" in {name for name, _ in found}) is (path.name == "requirements-worker.lock")


def pinned(path: Path) -> set[tuple[str, str]]:
    """The names and versions in a lock file."""
    return set(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))
