"""What the API and the workers say to each other: kinds of job, their queues and payloads.

Redis carries only a job id; everything else is read from SQL by the worker, so that an emptied Redis loses nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from service.settings import Settings

INTERACTIVE, TRAINING, MAINTENANCE = "interactive", "training", "maintenance"
QUEUES = (INTERACTIVE, TRAINING, MAINTENANCE)

JobKind = Literal[
    "query",
    "predict",
    "agreement",
    "export",
    "training",
    "measuring",
    "featurization",
    "autolabel",
    "revocation",
    "merge",
    "deletion",
]

QUEUE_OF_KIND = {
    "query": INTERACTIVE,
    "predict": INTERACTIVE,
    "agreement": INTERACTIVE,
    "export": INTERACTIVE,
    "training": TRAINING,
    "measuring": TRAINING,
    "featurization": MAINTENANCE,
    "autolabel": TRAINING,
    "revocation": MAINTENANCE,
    "merge": MAINTENANCE,
    "deletion": MAINTENANCE,
}


def timeouts(settings: Settings) -> dict[str, int]:
    """The longest run of a job in seconds, by queue."""
    return dict.fromkeys(QUEUES, settings.job_timeout_seconds) | {INTERACTIVE: settings.query_timeout_seconds}


def memory_limits(settings: Settings) -> dict[str, int]:
    """The most memory of a job in MiB, by queue; 0: any."""
    return dict.fromkeys(QUEUES, settings.job_memory_mib) | {INTERACTIVE: settings.query_memory_mib}


@dataclass(frozen=True, slots=True)
class Ring:
    """A call to the workers: this job waits in this queue. `attempt` counts the runs before this one."""

    job_id: str
    queue: str
    attempt: int

    @property
    def rq_id(self) -> str:
        """The id in Redis; ringing twice for one attempt gives the same id."""
        return f"{self.job_id}-{self.attempt}"


class QueueUnavailableError(Exception):
    """The queue's server does not answer; the job waits in SQL until the dispatcher rings it."""


class Queue(Protocol):
    """Where jobs are rung: Redis, or memory in tests."""

    def ring(self, rings: list[Ring]) -> None:
        """Put the jobs into their queues; QueueUnavailableError when the server does not answer."""

    def waiting(self) -> set[str]:
        """The `rq_id`s that wait in the queues now."""

    def workers(self) -> dict[str, int]:
        """How many workers serve each queue now; QueueUnavailableError when the server does not answer."""

    def ping(self) -> bool:
        """Whether the server answers."""


class Message(BaseModel):
    """Base of the payloads, one class for each kind of job."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preselection(Message):
    """Choose among the `count` best of a scorer only."""

    strategy: str
    params: dict[str, Any] = Field(default_factory=dict)
    count: int


class QueryMessage(Message):
    """A query for a batch, with the project's defaults filled in."""

    k: int
    strategy: str
    params: dict[str, Any]
    annotator: str | None
    lease_seconds: int
    seed: int
    filter: dict[str, Any] | None
    candidates: Preselection | None
    explore: float
    class_balanced: bool = False
    include_data: bool
    prepared: bool = False  # a ranking to give one example at a time from: leases do not matter before one is given
    program: bool = False  # the annotator is a program, which gets no example twice


class PredictMessage(Message):
    """Predictions for examples that are not in the pool; the rows lie in object storage."""

    version: int
    inputs_key: str


class AgreementMessage(Message):
    """A report on the answers of the moment."""


class ExportMessage(Message):
    """A version of the model in ONNX."""

    version: int


class TrainingMessage(Message):
    """A training of the project's estimator on the labels of the moment."""

    reason: Literal["requested", "first", "every", "quiet", "idle"]


class MeasuringMessage(Message):
    """What a version of the client's own says of the test rows, against their labels."""

    version: int


class FeaturizationMessage(Message):
    """Other features for a project, complete as its own are."""

    features: dict[str, Any]


class AutolabelMessage(Message):
    """The serving model labels what it is sure enough of, as a group."""

    autolabel_id: str


class RevocationMessage(Message):
    """The labels of a group go."""

    autolabel_id: str


class MergeMessage(Message):
    """Many loose vectors become one chunk."""


class DeletionMessage(Message):
    """Everything of a project goes."""


MESSAGE_OF_KIND: dict[str, type[Message]] = {
    "query": QueryMessage,
    "predict": PredictMessage,
    "agreement": AgreementMessage,
    "export": ExportMessage,
    "training": TrainingMessage,
    "measuring": MeasuringMessage,
    "featurization": FeaturizationMessage,
    "autolabel": AutolabelMessage,
    "revocation": RevocationMessage,
    "merge": MergeMessage,
    "deletion": DeletionMessage,
}
