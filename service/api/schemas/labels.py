"""Labels in and out."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from service.actions.labels import LabelView, Submitted
from service.api.schemas.base import FieldProblem, LabelValue, Schema, Time
from service.api.schemas.bulk import BulkAnswer, request_body
from service.catalog.tasks import Task
from service.codecs.exports import Column, ColumnKind
from service.codecs.rows import LabelRow


class TrainingNoteOut(Schema):
    """What the labels led to."""

    job_id: str | None = Field(description="The training that these labels started, or that waits already.")
    labels_until_next: int | None = Field(
        description="How many more labels start one; null: only on request, or gold questions are asked."
    )


class LabelsAnswer(BulkAnswer):
    """What became of the labels of a body."""

    training: TrainingNoteOut

    @classmethod
    def of_labels(cls, submitted: Submitted) -> "LabelsAnswer":
        """From what the action did."""
        fields = {name: getattr(submitted.outcome, name) for name in BulkAnswer.model_fields if name != "errors"}
        errors = [FieldProblem.model_validate(error) for error in submitted.outcome.errors]
        return cls(**fields, errors=errors, training=TrainingNoteOut.model_validate(submitted.training))


class LabelOut(Schema):
    """One annotator's current answer for one example, with how its batch was made."""

    id: str
    example_id: str
    split: Literal["pool", "test", "gold"] = Field(
        description="Of its example: models learn of `pool`, `test` measures them, and `gold` measures annotators."
    )
    label: LabelValue | None = Field(description="A class, a list of classes or a number; null for a skip.")
    skip: bool
    annotator: str | None
    source: Literal["human", "automated"]
    batch_id: str | None = Field(description="The query that led to it.")
    labeled_at: Time
    created_at: Time
    updated_at: Time
    strategy: str | None = Field(description="Of the batch, as are the three below.")
    seed: int | None
    model_version: int | None
    propensity: float | None = Field(description="The chance to be picked, for examples picked at random.")

    @classmethod
    def of(cls, view: LabelView) -> "LabelOut":
        """From the action's view."""
        return cls(**as_row(view))


def as_row(view: LabelView) -> dict[str, Any]:
    """The fields of a label, in order; also the columns of an export."""
    label = view.label
    return {
        "id": label.id,
        "example_id": label.example_id,
        "split": view.split,
        "label": view.value,
        "skip": label.skip,
        "annotator": label.annotator or None,
        "source": label.source,
        "batch_id": label.batch_id,
        "labeled_at": label.labeled_at,
        "created_at": label.created_at,
        "updated_at": label.updated_at,
        "strategy": view.strategy,
        "seed": view.seed,
        "model_version": view.model_version,
        "propensity": view.propensity,
    }


_LABELS: Mapping[Task, ColumnKind] = {"classification": "text", "multi_label": "texts", "regression": "number"}


def columns(task: Task) -> tuple[Column, ...]:
    """The columns of an export of labels: the fields of a label, in order."""
    return (
        Column("id"),
        Column("example_id"),
        Column("split"),
        Column("label", _LABELS[task]),
        Column("skip", "boolean"),
        *map(Column, ("annotator", "source", "batch_id")),
        *(Column(name, "time") for name in ("labeled_at", "created_at", "updated_at")),
        Column("strategy"),
        *(Column(name, "integer") for name in ("seed", "model_version")),
        Column("propensity", "number"),
    )


SUBMIT = request_body(
    "labels",
    LabelRow,
    rows=[
        {"example_id": "a17", "label": "bug", "annotator": "alice"},
        {"example_id": "a18", "skip": True, "annotator": "alice"},
    ],
    csv="example_id,label,annotator\na17,bug,alice\n",
    description=(
        "A label is a class of the project, a list of classes (in CSV as JSON) or a number, as the task says; `skip` "
        "takes the example out of the annotator's pool."
    ),
)
