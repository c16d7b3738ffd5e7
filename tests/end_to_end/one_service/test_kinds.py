"""The loop over HTTP with a real set of each kind of data, with real processes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from tests.support.stack import Client
from workers.learning import datasets

pytestmark = pytest.mark.processes
WAIT = {"Prefer": "wait=30"}
_TEST = 150
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A set as it is uploaded.

    Attributes:
        task: Of its project.
        features: Of its project.
        rows: What an example has beside its id.
        answers: Of the annotator, row by row.
        metric: What its models are measured by.
        at_least: What the last of them reaches on rows that nobody picked.
        query: How batches are asked for, beside their size.
    """

    task: dict[str, Any]
    features: dict[str, Any]
    rows: list[dict[str, Any]]
    answers: list[Any]
    metric: str
    at_least: float
    query: dict[str, Any] = field(default_factory=dict)


def _digits() -> Kind:
    X, y = load_digits(return_X_y=True)
    return Kind(
        task={"type": "classification", "classes": [str(digit) for digit in range(10)]},
        features={"type": "vector", "dimensions": 64},
        rows=[{"vector": row.tolist()} for row in X],
        answers=[str(digit) for digit in y],
        metric="accuracy",
        at_least=0.7,
    )


def _several() -> Kind:
    """Digits by what is true of them."""
    X, y = load_digits(return_X_y=True)
    true_of = {"even": {0, 2, 4, 6, 8}, "large": {5, 6, 7, 8, 9}, "with a loop": {0, 6, 8, 9}}
    return Kind(
        task={"type": "classification", "classes": list(true_of), "multi_label": True},
        features={"type": "vector", "dimensions": 64},
        rows=[{"vector": row.tolist()} for row in X],
        answers=[[name for name, digits in true_of.items() if digit in digits] for digit in y],
        metric="micro_f1",
        at_least=0.7,
    )


def _texts() -> Kind:
    messages = datasets.load("text", np.random.default_rng(0))
    return Kind(
        task={"type": "classification", "classes": messages.classes},
        features={"type": "text", "field": "text"},
        rows=[{"data": {"text": text}} for text in messages.inputs],
        answers=[messages.classes[code] for code in messages.y],
        metric="accuracy",
        at_least=0.85,
    )


def _numbers() -> Kind:
    X, y = load_diabetes(return_X_y=True)
    return Kind(
        task={"type": "regression"},
        features={"type": "vector", "dimensions": 10},
        rows=[{"vector": row.tolist()} for row in X],
        answers=[float(value) for value in y],
        metric="r2",
        at_least=0.2,
    )


def _tables() -> Kind:
    """Tumours by some of their measures, of which one in ten is missing."""
    found = load_breast_cancer()
    rng = np.random.default_rng(0)
    sizes = np.array(["small", "middle", "large"])[np.digitize(found.data[:, 2], [75, 100])]
    numbers = {"texture": 1, "smoothness": 4, "concavity": 6}
    values = {name: [float(value) for value in found.data[:, column]] for name, column in numbers.items()}
    rows = [{name: values[name][n] for name in numbers if rng.random() > 0.1} for n in range(len(sizes))]
    return Kind(
        task={"type": "classification", "classes": found.target_names.tolist()},
        features={
            "type": "tabular",
            "fields": [{"name": name, "type": "number"} for name in numbers] + [{"name": "size", "type": "category"}],
        },
        rows=[{"data": {**row, "size": str(size)}} for row, size in zip(rows, sizes, strict=True)],
        answers=[str(found.target_names[code]) for code in found.target],
        metric="accuracy",
        at_least=0.8,
    )


def _rare() -> Kind:
    """Eights among digits, one in ten, which are looked for."""
    X, y = load_digits(return_X_y=True)
    return Kind(
        task={"type": "classification", "classes": ["eight", "another"]},
        features={"type": "vector", "dimensions": 64},
        rows=[{"vector": row.tolist()} for row in X],
        answers=["eight" if digit == 8 else "another" for digit in y],
        metric="macro_f1",
        at_least=0.7,
        query={"strategy": "certainty", "params": {"target_class": "eight"}},
    )


@pytest.mark.parametrize("make", [_digits, _several, _texts, _numbers, _tables, _rare])
def test_the_loop_of_a_kind(client: Client, make: Any) -> None:
    kind = make()
    project_id = client.project(
        task=kind.task, features=kind.features, retraining={"first_at": 30, "every": 30}, seed=1
    )
    path = f"/v1/projects/{project_id}"
    examples = [
        {"id": f"e{n}", **row, **({"split": "test", "label": answer} if n < _TEST else {})}
        for n, (row, answer) in enumerate(zip(kind.rows, kind.answers, strict=True))
    ]
    assert client.http.post(f"{path}/examples", json={"examples": examples}).json()["created"] == len(examples)
    for version in (None, *range(1, _ROUNDS)):
        query = client.http.post(f"{path}/queries", json={"k": 30, **kind.query}, headers=WAIT).json()
        assert query["state"] == "succeeded"
        batch = client.http.get(query["links"]["batch"]).json()
        assert (batch["model"] and batch["model"]["version"]) == version
        picked = [item["example_id"] for item in batch["items"]]
        assert len(picked) == 30
        labels = [{"example_id": picked_id, "label": kind.answers[int(picked_id[1:])]} for picked_id in picked]
        told = client.http.post(f"{path}/labels", json={"labels": labels}).json()
        client.succeeded(told["training"]["job_id"])
    model = client.http.get(f"{path}/models/{_ROUNDS}").json()
    assert model["labels_used"] == 30 * _ROUNDS
    measured = model["metrics"][kind.metric]
    assert (measured["method"], measured["biased"], measured["n"]) == ("test", False, _TEST)
    assert measured["value"] > kind.at_least
    said = client.http.post(f"{path}/models/{_ROUNDS}/predict", json={"examples": kind.rows[:20]})
    assert (said.status_code, len(said.json()["predictions"])) == (200, 20)
