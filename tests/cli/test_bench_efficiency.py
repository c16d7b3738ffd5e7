import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from service.cli.bench import bench
from service.cli.bench_efficiency_results import SetResult, StrategyResult, summarise
from service.cli.bench_efficiency_sets import SetError, load, simulation
from service.cli.supervisor import gleaner_command
from tests.learning.pools import blobs
from tests.support.redis_server import PATIENCE_SECONDS
from workers.learning.efficiency import Difference, Reach
from workers.learning.simulate import simulate

ROWS = 120
ALONE = ["--jobs", "1", "--seeds", "1", "--past-budget", "none"]


def write(path: Path, **columns: Any) -> Path:
    table = {"id": [str(row) for row in range(ROWS)], "label": ["ab"[row % 2] for row in range(ROWS)], **columns}
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    return path


def vectors() -> dict[str, Any]:
    X, _ = blobs(ROWS, 2, np.random.default_rng(0))
    return {f"x{column}": X[:, column] for column in range(X.shape[1])}


def test_the_three_forms_of_features(tmp_path: Path) -> None:
    split = ["test" if row % 4 == 0 else "train" for row in range(ROWS)]
    table = load(str(write(tmp_path / "table.parquet", **vectors(), split=split)))
    assert (table.X.shape, table.classes, table.text, table.name) == ((ROWS, 4), 2, False, "table")
    assert table.test is not None
    assert table.test.sum() == ROWS / 4
    lists = pa.array(np.ones((ROWS, 3)).tolist(), type=pa.list_(pa.float16(), 3))
    vector = load(str(write(tmp_path / "vector.parquet", vector=lists)))
    assert vector.X.shape == (ROWS, 3)
    assert vector.X.dtype == np.float32
    assert vector.test is None
    text = load(str(write(tmp_path / "text.parquet", text=["some words"] * ROWS)))
    assert text.text


def test_the_columns_of_a_table(tmp_path: Path) -> None:
    days = pa.array([row * 86_400 for row in range(ROWS)], pa.timestamp("s"))
    columns = {
        "age": [None if row % 5 == 0 else float(row) for row in range(ROWS)],
        "plan": ["xyz"[row % 3] for row in range(ROWS)],
        "member": [row % 2 == 0 for row in range(ROWS)],
        "since": days,
        "note": [f"word{row} other{row % 7}" for row in range(ROWS)],
    }
    table = load(str(write(tmp_path / "raw.parquet", **columns)))
    latent = 6  # of seven words that several rows have
    assert table.X.shape == (ROWS, 2 + (3 + 2) + (2 + 2) + 9 + latent)
    assert np.isfinite(table.X).all()
    assert not table.text
    played = simulate(simulation(table, seed=0, cold=False, budget=40, past=False, strategy="margin"))
    assert played[-1][1] > 0.9  # `member` is the label
    with pytest.raises(SetError, match="`odd` is of no type"):
        load(str(write(tmp_path / "odd.parquet", odd=[[1, 2]] * ROWS)))


def test_labels_may_lie_beside_the_features(tmp_path: Path) -> None:
    write(tmp_path / "told.parquet", text=["some words"] * ROWS)
    vector = pa.array(np.ones((ROWS, 3)).tolist())
    features = load(str(write(tmp_path / "told.other.parquet", vector=vector, label=None)))
    assert features.y.tolist()[:3] == [0, 1, 0]
    alone = write(tmp_path / "alone.other.parquet", vector=vector, label=None)
    with pytest.raises(SetError, match="no column `label`"):
        load(str(alone))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["a"] * ROWS}, "one class only"),
        ({"label": [None, *"ab" * 59, "a"]}, "without a label"),
        ({"split": ["test"] * ROWS}, "both test rows and others"),
        ({"x0": [float("nan")] * ROWS}, "not numbers"),
        ({"x0": None, "x1": None, "x2": None, "x3": None}, "no columns with features"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "bad.parquet", **{**vectors(), **columns})
    with pytest.raises(SetError, match=message):
        load(str(path))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_text("no table")
    result = CliRunner().invoke(bench, ["efficiency", str(path)])
    assert result.exit_code == 1
    assert "cannot be read as Parquet" in result.output


def test_a_seed_gives_every_strategy_the_same_start(tmp_path: Path) -> None:
    many = [chr(97 + row % 12) for row in range(ROWS)]
    path = write(tmp_path / "many.parquet", **{**vectors(), "label": many})
    one, other = (simulation(load(str(path)), seed=3, cold=False, budget=60, past=False) for _ in range(2))
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.y_test, other.y_test)
    assert np.bincount(one.y[one.start]).tolist() == [2] * 12
    assert one.start.tolist() != simulation(load(str(path)), seed=4, cold=False, budget=60, past=False).start.tolist()


def test_a_class_that_is_not_drawn_gets_one_row(tmp_path: Path) -> None:
    rare = ["rare" if row < 4 else "often" for row in range(ROWS)]
    made = load(str(write(tmp_path / "rare.parquet", **{**vectors(), "label": rare})))
    assert made.score == "macro_f1"
    starts = [simulation(made, seed=seed, cold=False, budget=60, past=False) for seed in range(10)]
    assert all(start.y[start.start].min() == 0 for start in starts)
    assert {start.start.size for start in starts} <= {20, 21}
    assert simulation(made, seed=0, cold=True, budget=60, past=False).start.size == 0


def play(path: Path, folder: Path, *options: str) -> dict[str, Any]:
    command = ["efficiency", str(path), "--seeds", "2", "--jobs", "1", "--budget", "40", "--strategies", "margin"]
    files = ["--json", str(folder / "out.json"), "--picture", str(folder / "out.svg")]
    result = CliRunner().invoke(bench, [*command, *files, *options])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads((folder / "out.json").read_text())
    assert "over all sets" in result.output
    return document


def test_finished_runs_are_kept_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "easy.parquet", **vectors())
    document = play(path, tmp_path)
    (told,) = document["sets"]
    assert [found["strategy"] for found in told["strategies"]] == ["random", "margin"]
    assert told["pool"] == 72
    assert len(document["runs"]) == 2 * 3  # a model of all labels for each test set, too
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")
    monkeypatch.setattr("service.cli.bench_efficiency_play.play", None)  # nothing is played again
    assert play(path, tmp_path) == {**document, "machine": ANY}  # its load may have changed


@pytest.mark.parametrize(
    ("label", "score"),
    [(lambda n: ["a"] if n % 3 else ["a", "b"], "micro_f1"), (lambda n: n % 7 / 7, "r2")],
    ids=["several classes", "numbers"],
)
def test_every_kind_of_label_is_played(tmp_path: Path, label: Callable[[int], Any], score: str) -> None:
    path = write(tmp_path / "kind.parquet", **vectors(), label=[label(n) for n in range(ROWS)])
    made = load(str(path))
    assert made.score == score
    played = simulate(simulation(made, seed=0, cold=False, budget=40, past=False, estimator="random_forest"))
    assert [labels for labels, _ in played] == [20, 25, 30, 35, 40]


def test_a_strategy_is_played_where_it_serves_the_task(tmp_path: Path) -> None:
    number = write(tmp_path / "number.parquet", **vectors(), label=[n % 7 / 7 for n in range(ROWS)])
    a_class = write(tmp_path / "class.parquet", **vectors())
    options = [*ALONE, "--strategies", "margin,greedy_x", "--budget", "30"]
    out = ["--json", str(tmp_path / "out.json"), "--picture", str(tmp_path / "out.svg")]
    ran = CliRunner().invoke(bench, ["efficiency", str(a_class), str(number), *options, *out])
    assert ran.exit_code == 0, ran.output
    document = json.loads((tmp_path / "out.json").read_text())
    assert [[found["strategy"] for found in told["strategies"]] for told in document["sets"]] == [
        ["random", "margin"],
        ["random", "greedy_x"],
    ]
    assert [(told["strategy"], told["sets"]) for told in document["summary"]] == [("margin", 1), ("greedy_x", 1)]
    refused = CliRunner().invoke(bench, ["efficiency", "--strategies", "certainty"])
    assert refused.exit_code == 1
    assert "play it with --find" in refused.output


def test_the_rarest_class_is_found(tmp_path: Path) -> None:
    rare = write(tmp_path / "rare.parquet", **vectors(), label=["ab"[n % 12 == 0] for n in range(ROWS)])
    number = write(tmp_path / "number.parquet", **vectors(), label=[n % 7 / 7 for n in range(ROWS)])
    options = [*ALONE, "--find", "--strategies", "certainty", "--budget", "72"]
    out = ["--json", str(tmp_path / "out.json"), "--picture", str(tmp_path / "out.svg")]
    ran = CliRunner().invoke(bench, ["efficiency", str(rare), *options, *out])
    assert ran.exit_code == 0, ran.output
    (told,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    assert (told["score"], told["full"]) == ("found", 1.0)
    for found in told["strategies"]:
        shares = [share for _, share in found["curve"]]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0  # the whole pool is labelled
    refused = CliRunner().invoke(bench, ["efficiency", str(number), *options, *out])
    assert refused.exit_code == 1
    assert "no one class an example" in refused.output


def result_of(name: str, gain: float, p: float, saving: float | None) -> SetResult:
    reaches = tuple(Reach(share, 50, 100, saving, None, None) for share in (0.95, 0.98, 0.99))
    told = Difference(gain, gain, gain, p, 0, 20)
    found = StrategyResult(
        strategy="auto", curve=[(20, 0.5)], area=0.5, to_baseline=told, to_margin=told, reaches=reaches
    )
    return SetResult(name=name, score="accuracy", pool=9, classes=2, budget=9, full=1.0, strategies=(found,))


def test_the_summary_corrects_for_the_number_of_sets() -> None:
    results = [result_of("a", -0.1, 0.02, 0.5), result_of("b", 0.2, 0.001, 0.4), result_of("c", 0.1, 0.5, None)]
    (auto,) = summarise(results)
    assert (auto.below, auto.above) == (("a",), ("b",))
    assert auto.gain == 0.1
    assert auto.savings[0.95] == (0.4, 3)  # the set where it does not get there counts as the worst
    (more,) = summarise([*results, result_of("d", 0.0, 0.9, 0.3)])
    assert more.below == ()


@pytest.mark.processes
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    path = write(tmp_path / "easy.parquet", **vectors())
    command = gleaner_command("bench", "efficiency", str(path), "--seeds", "100", "--budget", "60")  # on all cores
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert any(line.startswith("1 of ") for line in running.stdout)
        running.send_signal(signal.SIGINT)
        told, _ = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 1
    assert "the same command goes on with the others" in told
    assert json.loads((tmp_path / "efficiency.json").read_text())["runs"]
