"""The demo's loop: plays the annotator of projects whose labels are all known, over HTTP."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.cli.client import Client, base64_vector, ndjson
from service.cli.demo_receiver import DeliveryError, Receiver

if TYPE_CHECKING:
    from workers.learning.curve import Curve
    from workers.learning.datasets import Dataset

STRATEGIES = ("auto", "random")
EVENTS = ["training.succeeded", "training.failed"]
_TRAINING_SECONDS = 600.0  # trainings give way to whatever else the machine does
_ANNOTATOR = "demo"

Watch = Callable[[Sequence["Player"]], None]


class LoopError(Exception):
    """The loop did not do what it should."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured: the curve of each strategy, and the accuracy of a model of all labels."""

    curves: "dict[str, Curve]"
    full: float


@dataclass(slots=True)
class Player:
    """Labels one project, batch after batch."""

    client: Client
    dataset: "Dataset"
    strategy: str
    project_id: str
    labels: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def start(self, batch: int, seed: int) -> tuple[list[str], str]:
        """Label a batch at random, before there is any model; return its examples and the training's job."""
        return self._label(self.client.query(self.project_id, k=batch, strategy="random", seed=seed))

    def step(self, batch: int) -> str:
        """Ask for the next batch and label it; return the training's job."""
        return self._label(self.client.query(self.project_id, k=batch, annotator=_ANNOTATOR))[1]

    def note(self, accuracy: float | None) -> None:
        """Put the point of the newest model on the curve; there is none while only one class has labels."""
        if accuracy is not None:
            self.curve.append((self.labels, accuracy))

    def _label(self, batch: dict[str, Any]) -> tuple[list[str], str]:
        ids = [item["example_id"] for item in batch["items"]]
        answers = [
            {
                "example_id": example_id,
                "label": _class(self.dataset, int(example_id)),
                "annotator": _ANNOTATOR,
                "batch_id": batch["job_id"],
            }
            for example_id in ids
        ]
        answer = self.client.label(self.project_id, answers)
        self.labels += len(ids)
        job_id: str | None = answer["training"]["job_id"]
        if answer["created"] != len(ids) or job_id is None:
            raise LoopError(f"{len(ids)} labels of {self.strategy} were answered {answer}.")
        return ids, job_id


def play(
    client: Client, receiver: Receiver, dataset: "Dataset", *, budget: int, batch: int, seed: int, watch: Watch
) -> Outcome:
    """Play both strategies from the same first batch to the budget, in step.

    Args:
        client: Calls the service.
        receiver: Where the service may send webhooks to.
        dataset: The examples, their labels and the test set.
        budget: Labels of each strategy; a multiple of `batch`.
        batch: Labels between two trainings.
        seed: Of the projects and of the first batch.
        watch: Told after each round.

    Raises:
        CallError: The service refused a call.
        DeliveryError: A webhook did not come, or was not as it should be.
        LoopError: A step did something else than it should.
    """
    webhook = client.call("POST", "/v1/webhooks", json={"url": receiver.url, "events": EVENTS})
    receiver.trust(webhook["secret"])
    full_job = _train_on_everything(client, dataset, seed)
    players = [
        Player(client, dataset, strategy, _project(client, dataset, strategy, batch=batch, seed=seed))
        for strategy in STRATEGIES
    ]
    firsts, jobs = zip(*(player.start(batch, seed) for player in players), strict=True)
    if firsts[0] != firsts[1]:
        raise LoopError("The same seed gave two projects different first batches.")
    full = _accuracy(receiver.wait(full_job, _TRAINING_SECONDS))
    if full is None:
        raise LoopError("There is no model of all labels.")
    while True:
        for player, job in zip(players, jobs, strict=True):
            player.note(_accuracy(receiver.wait(job, _TRAINING_SECONDS)))
        watch(players)
        if players[0].labels >= budget:
            return Outcome({player.strategy: player.curve for player in players}, full)
        jobs = tuple(player.step(batch) for player in players)


def _project(client: Client, dataset: "Dataset", strategy: str, *, batch: int, seed: int) -> str:
    """A project with the pool and the labelled test set in it, that trains after each batch."""
    project_id = _new_project(client, dataset, strategy, seed)
    client.upload(project_id, ndjson(_rows(dataset, pool_labels=False)))
    # Only now, so that the labels of the test set start no training.
    client.change_project(project_id, retraining={"automatic": True, "first_at": batch, "every": batch})
    return project_id


def _train_on_everything(client: Client, dataset: "Dataset", seed: int) -> str:
    """Train on the whole pool, for the accuracy that labelling everything would give; return the job."""
    project_id = _new_project(client, dataset, "random", seed)
    client.upload(project_id, ndjson(_rows(dataset, pool_labels=True)))
    return client.train(project_id)


def _new_project(client: Client, dataset: "Dataset", strategy: str, seed: int) -> str:
    texts = isinstance(dataset.inputs, list)
    width = {} if isinstance(dataset.inputs, list) else {"dimensions": dataset.inputs.shape[1]}
    return client.create_project(
        name=f"demo-{strategy}",
        task={"type": "classification", "classes": dataset.classes},
        features={"type": "text", "field": "text"} if texts else {"type": "vector", **width},
        query={"strategy": strategy},
        retraining={"automatic": False},
        seed=seed,
    )


def _rows(dataset: "Dataset", *, pool_labels: bool) -> Iterator[dict[str, Any]]:
    """Every example as a row to upload: those of the test set with their labels."""
    for position, (value, test) in enumerate(zip(dataset.inputs, dataset.test, strict=True)):
        row: dict[str, Any] = {"id": str(position)}
        row |= {"data": {"text": value}} if isinstance(value, str) else {"vector": base64_vector(value)}
        if test:
            row["split"] = "test"
        if test or pool_labels:
            row |= {"label": _class(dataset, position), "annotator": _ANNOTATOR}
        yield row


def _class(dataset: "Dataset", position: int) -> str:
    return dataset.classes[int(dataset.y[position])]


def _accuracy(data: dict[str, Any]) -> float | None:
    """The accuracy that the service measured on the test set, as the webhook tells it."""
    if data["model"] is None:
        return None
    accuracy = data["model"]["metrics"]["accuracy"]
    if accuracy["method"] != "test":
        raise DeliveryError(f"A model was measured by {accuracy['method']}, not on the test set.")
    value: float = accuracy["value"]
    return value
