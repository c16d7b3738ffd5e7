"""Attack the service through its OpenAPI document: `python -m tests.fuzz.run --seed 1`."""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.prepared import Prepared
from tests.support.stack import running

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")


def attack(seed: int, *, seconds: int, examples: int, words: list[str]) -> int:
    """Call a fresh service as an admin, then as a key of one project; return the number of runs that found a fault."""
    failed = 0
    with running() as stack, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = Prepared(stack.client)
        prepared.write(folder / "ids")
        admin = (stack.folder / "admin-key").read_text().strip()
        for identity, key in (("admin", admin), ("bound", prepared.keys["bound"])):
            sys.stdout.write(f"== seed {seed}, key: {identity}\n")
            sys.stdout.flush()
            shutil.copy(CONFIG, folder / CONFIG.name)
            command = [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / CONFIG.name), "run"),
                *("--seed", str(seed), "--max-time", str(seconds), "--max-examples", str(examples), "--no-shrink"),
                *words,
                f"{stack.client.http.base_url}/openapi.json",
            ]
            environment = {
                **os.environ,
                "FUZZ_KEPT": " ".join(prepared.kept),
                "PYTHONPATH": str(ROOT),
                "FUZZ_API_KEY": key,
            }
            failed += subprocess.run(command, env=environment, cwd=folder, check=False).returncode != 0
    return failed


def main() -> None:
    """Attack at a given seed and at a fresh one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=75, help="for each key")
    parser.add_argument("--examples", type=int, default=20)
    arguments, words = parser.parse_known_args()
    failed = sum(
        attack(seed, seconds=arguments.seconds, examples=arguments.examples, words=words)
        for seed in (arguments.seed, secrets.randbelow(2**32))
    )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
