"""The walk of the README works as printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import HeldPort
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stack import Stack

ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)


TEXTS = ("It crashes on start", "I love the new editor", "Saving fails again")


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("curl") is None, reason="the walk needs curl")
def test_walk_with_curl(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    blocks = _BLOCK.findall((ROOT / "README.md").read_text())
    script = "\n".join(["set -euo pipefail", 'trap "kill ${RECEIVER-} || true" EXIT', *blocks])
    assert "call()" in script
    (tmp_path / "gleaner-data").symlink_to(stack.folder)
    with HeldPort() as hook_port:
        walk = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PORT": str(stack.client.http.base_url.port),
                "HOOK_PORT": str(hook_port),
                "TMPDIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert walk.returncode == 0, walk.stdout + walk.stderr
    assert "'fallback_reason': 'no_model'" in walk.stdout
    assert "verified: training.succeeded model: 1" in walk.stdout
    assert '"predictions":[{"label":"above"' in walk.stdout
    assert "program stopped: budget_labels" in walk.stdout
    assert "0 rows are unbiased, labelled by people and predicted by the model" in walk.stdout
    # The texts have no word in common: which comes first is drawn.
    assert any(f"{{'text': '{text}'}}" in walk.stdout for text in TEXTS)
