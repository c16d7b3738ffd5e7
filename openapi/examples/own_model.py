"""Bring your own model: three rounds of active learning with a model that Gleaner never sees.

    GLEANER_URL=http://127.0.0.1:8000 GLEANER_KEY=$(cat gleaner-data/admin-key) python openapi/examples/own_model.py

The model, here a neural network on images of digits, stays with you, and so do the images: Gleaner gets ids, and each
round the probabilities and embeddings of what is not labelled yet. It answers with what to label next.
"""

import os
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

ROUNDS, K, POOL = 3, 40, 1500
CLASSES = [str(digit) for digit in range(10)]


class Net:
    """Your model.

    With PyTorch, for a `net` whose last layer but one is `net.body`, three lines differ:
    `train(self.net, X, labels)`, your own loop of optimiser steps, in `fit`;
    `P = self.net(X).softmax(dim=1).numpy(force=True)` in `probabilities`;
    `hidden = self.net.body(X).numpy(force=True)` in `embeddings`.
    """

    def fit(self, X: NDArray[Any], labels: NDArray[Any]) -> None:
        """Train on labelled images."""
        self.net = MLPClassifier((64,), learning_rate_init=0.01, tol=1e-3, random_state=0).fit(X, labels)

    def probabilities(self, X: NDArray[Any]) -> NDArray[Any]:
        """P [n, classes] in the order of CLASSES; perhaps not every class has a label yet."""
        P = np.zeros((len(X), len(CLASSES)))
        P[:, [CLASSES.index(name) for name in self.net.classes_]] = self.net.predict_proba(X)
        return P

    def embeddings(self, X: NDArray[Any]) -> NDArray[Any]:
        """What the last hidden layer says [n, 64]: optional, spreads a batch over what differs."""
        hidden: NDArray[Any] = np.maximum(X @ self.net.coefs_[0] + self.net.intercepts_[0], 0)
        return hidden


def call(api: httpx.Client, method: str, path: str, body: Any = None) -> Any:
    """Send a request; the JSON of its answer."""
    answer = api.request(method, path, json=body)
    if answer.is_error:
        raise SystemExit(answer.text)
    return answer.json()


def play(api: httpx.Client) -> None:
    """Three rounds: a batch, its labels, a training outside, and what the model says of the rest."""
    X, truth = load_digits(return_X_y=True)
    X = X / 16
    task = {"type": "classification", "classes": CLASSES}
    made = call(api, "POST", "/v1/projects", {"name": "digits", "task": task, "features": {"type": "none"}})
    project = f"/v1/projects/{made['id']}"
    call(api, "POST", f"{project}/examples", {"examples": [{"id": str(row)} for row in range(POOL)]})

    model, labelled = Net(), []
    for number in range(1, ROUNDS + 1):
        # Ask for a batch. Before there is a model, it is drawn at random.
        job = call(api, "POST", f"{project}/queries", {"k": K})
        batch = call(api, "GET", f"/v1/jobs/{job['id']}/batch")

        # People label it. Here the answers are known.
        rows = [int(item["example_id"]) for item in batch["items"]]
        labels = [{"example_id": str(row), "label": str(truth[row])} for row in rows]
        call(api, "POST", f"{project}/labels", {"labels": labels})
        labelled += rows

        # Train outside, upload what the model says of the rest, and let it serve.
        model.fit(X[labelled], truth[labelled].astype(str))
        rest = np.setdiff1d(np.arange(POOL), labelled)
        said = zip(rest, model.probabilities(X[rest]).tolist(), model.embeddings(X[rest]).tolist(), strict=True)
        predictions = [{"id": str(row), "probabilities": p, "vector": vector} for row, p, vector in said]
        version = call(api, "POST", f"{project}/predictions?model=net", {"predictions": predictions})["model_version"]
        call(api, "POST", f"{project}/models/{version}/activate")

        accuracy = np.mean(model.probabilities(X[POOL:]).argmax(axis=1) == truth[POOL:])
        by = "no model" if batch["model"] is None else f"{batch['model']['name']} {batch['model']['version']}"
        print(f"round {number}: {batch['strategy']['name']} by {by}, {len(labelled)} labels, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    headers = {"Authorization": f"Bearer {os.environ['GLEANER_KEY']}", "Prefer": "wait=30"}
    with httpx.Client(base_url=os.environ["GLEANER_URL"], headers=headers, timeout=60, trust_env=False) as client:
        play(client)
