import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import matplotlib.image
import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console
from standardwebhooks import Webhook

from service.cli.demo import demo
from service.cli.demo_play import Outcome
from service.cli.demo_receiver import DeliveryError, Receiver
from service.cli.demo_report import draw, saving_line, show_tables
from service.cli.supervisor import gleaner_command
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stopwatch import assert_within
from workers.learning.curve import Curve

SECRET = "whsec_" + "c2VjcmV0" * 4
EARLY = [(20, 0.5), (40, 0.9), (60, 0.99)]
LATE = [(20, 0.5), (40, 0.7), (60, 0.8), (80, 0.9), (100, 0.98)]


def outcome(auto: Curve, random: Curve) -> Outcome:
    return Outcome({"auto": auto, "random": random}, 1.0)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (outcome(EARLY, LATE), "saving: 40 %"),
        (outcome(EARLY, LATE[:-1]), "saving: ≥ 25 %"),
        (outcome(LATE, EARLY), "saving: -67 %"),
        (outcome(EARLY[:2], LATE), "saving: none (98 % of the full-data accuracy was not reached within the budget)"),
    ],
)
def test_the_saving_is_told_at_98_percent(result: Outcome, line: str) -> None:
    assert saving_line(result) == line


def test_the_tables_tell_accuracies_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    show_tables(Console(width=80), Outcome({"auto": EARLY[1:], "random": LATE[:-1]}, 0.9))
    rows = [[word for word in line.split() if word not in "│┃"] for line in capsys.readouterr().out.splitlines()]
    assert ["20", "-", "0.500"] in rows
    assert ["60", "0.990", "0.800"] in rows
    assert ["95", "%", "0.855", "40", "80", "50", "%"] in rows
    assert ["98", "%", "0.882", "40", "80", "50", "%"] in rows


def test_the_picture_is_drawn_also_when_nothing_was_reached(tmp_path: Path) -> None:
    for name, result in {"both": outcome(EARLY, LATE), "none": outcome(EARLY[:2], LATE[:2])}.items():
        draw(result, "something", tmp_path / f"{name}.png")
        pixels = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert pixels.shape[:2] == (750, 1200)
        assert len({tuple(pixel) for pixel in pixels[::3, ::3].reshape(-1, 4).tolist()}) > 20


def deliver(receiver: Receiver, *, secret: str = SECRET, message: str = "dlv_1", **event: Any) -> int:
    body = orjson.dumps({"type": "training.succeeded", "data": {"job_id": "job_1", "model": None}, **event})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, now, body.decode()),
    }
    return httpx.post(receiver.url, content=body, headers=headers, trust_env=False).status_code


def test_the_receiver_keeps_what_is_signed_and_counts_a_repetition_once() -> None:
    with Receiver() as receiver:
        assert deliver(receiver) == 404  # nothing is trusted yet
        receiver.trust(SECRET)
        assert [deliver(receiver), deliver(receiver)] == [204, 204]
        assert deliver(receiver, message="dlv_2", data={"job_id": "job_2", "model": {"version": 1}}) == 204
        assert receiver.wait("job_2", PATIENCE_SECONDS)["model"] == {"version": 1}
        assert receiver.wait("job_1", PATIENCE_SECONDS)["model"] is None
        assert receiver.verified == 2
        with pytest.raises(DeliveryError, match="No webhook told of the end of job_3"):
            receiver.wait("job_3", 0.01)


def test_a_wrong_signature_or_a_failed_training_ends_the_demo() -> None:
    with Receiver() as receiver:
        receiver.trust(SECRET)
        assert deliver(receiver, secret="whsec_" + "b3RoZXIh" * 4) == 400
        with pytest.raises(DeliveryError, match="signature is wrong"):
            receiver.wait("job_1", PATIENCE_SECONDS)
        deliver(receiver, type="training.failed", data={"job_id": "job_1", "error": {"detail": "no memory"}})
        with pytest.raises(DeliveryError, match=r"training\.failed: .*no memory"):
            receiver.wait("job_1", PATIENCE_SECONDS)


@pytest.mark.processes
def test_the_whole_loop_works_and_leaves_only_the_picture(tmp_path: Path) -> None:
    result = subprocess.run(
        gleaner_command("demo", "--budget", "40"),
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    picture = tmp_path / "gleaner-demo-digits.png"
    assert lines[-1] == str(picture)
    assert lines[-2].startswith("saving: ")
    assert lines[-3].startswith("5 signed webhooks verified")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("gleaner")] == [picture]


@pytest.mark.processes
def test_ctrl_c_after_a_round_on_texts_ends_everything(tmp_path: Path) -> None:
    command = gleaner_command("demo", "--data", "text")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert any(line.startswith("  20 labels") for line in shown.stdout)
        shown.send_signal(signal.SIGINT)
        shown.communicate(timeout=PATIENCE_SECONDS)
    assert shown.returncode == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("gleaner-demo")]
    assert_within(2, lambda: not list(commands_that_name(tmp_path)))


def commands_that_name(folder: Path) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if str(folder) in (words := path.read_bytes().decode()):
                yield words


def test_a_budget_without_room_for_two_batches_is_refused() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    result = CliRunner().invoke(demo, ["--budget", "30"])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert result.exit_code == 2
    assert "room for two batches" in result.output
