"""Installs packages into a folder of their own, as an operator would into the environment of the service."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "plugin"


def install(package: Path, folder: Path) -> None:
    """Install a package without its dependencies, which are here, and without an index."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--no-compile", "--target", str(folder), str(package)], check=True
    )


def made_up(folder: Path, name: str, points: str, **modules: str) -> None:
    """Put an installed package into a folder: its metadata with these entry points, and its modules."""
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with what is installed in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "GLEANER_DATA_DIR": str(folder / "data")}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
