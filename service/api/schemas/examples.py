"""Examples out."""

from typing import Any, Literal, Self

import msgspec
import orjson
from pydantic import Field

from service.actions.examples import ExampleView
from service.actions.label_values import decode
from service.api.schemas.base import LabelValue, RowName, Schema, Time, example
from service.api.schemas.bulk import EXAMPLES_AS_TABLE, request_body
from service.catalog.tasks import Task
from service.codecs.exports import Column
from service.codecs.rows import ExampleRow


class ExampleLabel(Schema):
    """A label, as its example shows it."""

    id: str
    label: LabelValue | None = Field(description="A class, a list of classes or a number; null for a skip.")
    skip: bool
    annotator: str | None
    source: Literal["human", "automated"]
    batch_id: str | None
    labeled_at: Time


class ExampleOut(Schema):
    """An item of the pool."""

    id: str = Field(description="The client's own id.")
    data: dict[str, Any] | None
    split: Literal["pool", "test", "gold"]
    group: str | None
    priority: float | None
    pinned: bool = Field(description="Offered before any other.")
    status: Literal["unlabeled", "labeled", "skipped", "leased"]
    labels: list[ExampleLabel]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, view: ExampleView, **more: Any) -> Self:
        """From the action's view."""
        shown = view.example
        return cls(
            id=shown.example_id,
            data=None if shown.data is None else orjson.loads(shown.data),
            split=shown.split,  # type: ignore[arg-type] # the column holds the splits only
            group=shown.group,
            priority=shown.priority,
            pinned=shown.pinned,
            status=view.status,
            labels=[ExampleLabel(**_label_row(view.task, label)) for label in view.labels],
            created_at=shown.created_at,
            updated_at=shown.updated_at,
            **more,
        )


class ExampleIn(Schema):
    """What of an example can be changed by itself. What is left out stays; null takes a group or a priority away."""

    model_config = example({"pinned": True}, {"priority": 5, "group": "document-7"}, {"priority": None, "group": None})

    group: RowName | None = Field(default=None, description="At most one example of a group comes into a batch.")
    priority: float | None = Field(default=None, description="Those with a higher one are offered first. None: 0.")
    pinned: bool = Field(default=False, description="Offered before any other.")

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def as_row(view: ExampleView) -> dict[str, Any]:
    """The fields of an example, as an export has them."""
    shown = view.example
    return {
        "id": shown.example_id,
        "data": None if shown.data is None else msgspec.Raw(shown.data.encode()),
        "split": shown.split,
        "group": shown.group,
        "priority": shown.priority,
        "pinned": shown.pinned,
        "status": view.status,
        "labels": [_label_row(view.task, label) for label in view.labels],
        "created_at": shown.created_at,
        "updated_at": shown.updated_at,
    }


class ExampleDetail(ExampleOut):
    """An item of the pool with what the serving model says of it."""

    prediction: dict[str, Any] | None = Field(
        description="What the serving model last said; null before a query has scored the pool.",
        examples=[{"label": "bug", "probabilities": {"bug": 0.7, "praise": 0.3}, "model_version": 3}],
    )


def _label_row(task: Task, label: Any) -> dict[str, Any]:
    fields = {name: getattr(label, name) for name in ("id", "skip", "source", "batch_id", "labeled_at")}
    return {**fields, "label": decode(task, label.value), "annotator": label.annotator or None}


COLUMNS = (
    Column("id"),
    Column("data", "json"),
    Column("split"),
    Column("group"),
    Column("priority", "number"),
    Column("pinned", "boolean"),
    Column("status"),
    Column("labels", "json"),
    Column("created_at", "time"),
    Column("updated_at", "time"),
)

UPLOAD = request_body(
    "examples",
    ExampleRow,
    rows=[
        {"id": "a17", "vector": [0.1, 0.9], "data": {"text": "It crashes on start"}},
        {"id": "a18", "vector": "zczMPWZmZj8=", "split": "test", "label": "bug", "annotator": "alice"},
    ],
    csv="id,vector,text\na17,zczMPWZmZj8=,It crashes on start\n",
    description=(
        "A vector is a list of numbers, or base64 of little-endian float32; in CSV base64 in the column `vector`, or "
        "columns `x0`, `x1`, ...; other CSV columns are `data`."
    ),
    tables=EXAMPLES_AS_TABLE,
)
