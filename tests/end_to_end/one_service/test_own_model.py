"""The example of a model of the client's own runs as printed, against the service as it is started."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stack import Stack

ROOT = Path(__file__).parents[3]
_ROUND = re.compile(r"round (\d): (\w+) by (.+), (\d+) labels, accuracy (0\.\d+)")


@pytest.mark.processes
def test_three_rounds_with_a_model_that_is_trained_outside(stack: Stack) -> None:
    environment = {**os.environ, "GLEANER_URL": str(stack.client.http.base_url), "GLEANER_KEY": stack.key}
    command = [sys.executable, "-W", "error", str(ROOT / "openapi/examples/own_model.py")]
    played = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert played.returncode == 0, played.stdout + played.stderr
    rounds = _ROUND.findall(played.stdout)
    assert [(number, strategy, model, labels) for number, strategy, model, labels, _ in rounds] == [
        ("1", "random", "no model", "40"),
        ("2", "auto", "net 1", "80"),
        ("3", "auto", "net 2", "120"),
    ]
    accuracies = [float(accuracy) for *_, accuracy in rounds]
    assert accuracies[2] > accuracies[0] + 0.05
