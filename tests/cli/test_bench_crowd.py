import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from service.cli.bench import bench


def write(folder: Path, name: str = "birds") -> Path:
    """60 examples: of seven workers three are right, and four guess, a little worse than by chance."""
    rng = np.random.default_rng(0)
    labels = [["kite", "wren"][n % 2] for n in range(60)]
    pq.write_table(pa.table({"id": [f"e{n}" for n in range(60)], "label": labels}), folder / f"{name}.parquet")
    rows = [
        {"id": f"e{n}", "worker": f"w{w}", "answer": label if w < 3 or rng.random() < 0.4 else ["wren", "kite"][n % 2]}
        for n, label in enumerate(labels)
        for w in range(7)
    ]
    path = folder / f"{name}.answers.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_one_command_tells_the_accuracy_of_majority_and_of_dawid_and_skene(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = CliRunner().invoke(bench, ["crowd", str(write(tmp_path)), "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert "birds (60 examples, alpha" in result.output
    document: dict[str, Any] = json.loads(out.read_text())
    lines = document["sets"]["birds"]
    assert [(line["most"], line["answers"]) for line in lines] == [
        (1, 60),
        (2, 120),
        (3, 180),
        (5, 300),
        (None, 420),
    ]
    assert lines[0]["accuracy"]["majority"] == lines[0]["accuracy"]["dawid_skene"]
    assert lines[-1]["accuracy"]["dawid_skene"] == 1
    assert lines[-1]["accuracy"]["majority"] < 0.95


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["e0"], "worker": ["w"]}, "columns id, worker, answer"),
        ({"id": [], "worker": [], "answer": []}, "has no rows"),
        ({"id": ["e0", "x"], "worker": ["w", "w"], "answer": ["kite", "kite"]}, "1 examples without a label"),
    ],
)
def test_what_is_wrong_with_the_files_is_told(tmp_path: Path, columns: dict[str, list[str]], message: str) -> None:
    path = write(tmp_path)
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)
    result = CliRunner().invoke(bench, ["crowd", str(path)])
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_file_of_another_name_or_without_labels_beside_it_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    labels = tmp_path / "birds.parquet"
    assert "is not called" in CliRunner().invoke(bench, ["crowd", str(labels)]).output
    labels.unlink()
    result = CliRunner().invoke(bench, ["crowd", str(path)])
    assert result.exit_code == 1
    assert "cannot be read" in result.output
