"""The secrets of the containers."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "secrets.sh"


def make(folder: Path) -> None:
    subprocess.run([str(SCRIPT), str(folder)], check=True, capture_output=True)


def test_they_are_made_once_and_nobody_else_can_reach_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make(tmp_path)
    assert tmp_path.stat().st_mode & 0o077 == 0
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made["gleaner_admin_key"].startswith("gln_")
    assert made["postgres_password"].strip() in made["gleaner_database_url"]
    assert made["gleaner_redis_url"].split("@")[0].endswith(made["redis_conf"].split()[1])
    make(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == made
