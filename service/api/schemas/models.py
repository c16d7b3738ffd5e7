"""Models and predictions."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.actions.models import kind_of
from service.api.schemas.base import Data, Schema, Time, example
from service.api.schemas.queries import Prediction
from service.db.tables import Model, Pool


class Metric(Schema):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    method: Literal["test", "holdout", "cross_validation"]
    biased: bool = Field(description="True where only actively picked labels could be used.")
    n: int = Field(description="Rows that were measured.")


Metrics = Annotated[
    dict[str, Metric],
    Field(
        description="By task. One class an example: `accuracy`, `balanced_accuracy` (the mean recall of the classes), "
        "`macro_f1`, `log_loss` (natural), `calibration_error` "
        "(expected, of the predicted class, in bins of equal mass; 0: the model is as often right as it is sure). "
        "Several: `micro_f1`, `macro_f1`, `subset_accuracy`, `log_loss`. Numbers: `r2`, `mae`, `rmse`, `coverage`."
    ),
]


class ModelOut(Schema):
    """A trained model, or a model of your own of which you uploaded predictions."""

    version: int
    kind: Literal["trained", "external"] = Field(description="`external`: your own model.")
    name: str | None = Field(description="Of your own model.")
    serving: bool = Field(description="Whether batches come from it.")
    pinned: bool = Field(description="Whether it goes on serving when a training ends.")
    open: bool = Field(description="Whether uploads of predictions under its name are added to it.")
    labels_used: int = Field(
        description="Examples that it was trained on. Of your own model: that were labelled when it was opened."
    )
    created_at: Time
    estimator: dict[str, Any] = Field(
        description=(
            "As the project asked for it, with what was `chosen`, the `seed`, the `features` that it sees, and whether "
            "`rows` or whole `groups` were held out (`holdout_of`). `merged`: one of its classes was merged since, so "
            "that it cannot serve again."
        )
    )
    metrics: Metrics
    classes: list[str]
    job_id: str | None
    removed_at: Time | None = Field(
        description="When its file was removed, or what you uploaded of your own model, as it is old and serves no "
        "more: it cannot be asked or serve again, and its figures stay. null: nothing was removed."
    )

    @classmethod
    def of(cls, model: Model, pool: Pool) -> "ModelOut":
        """From the table's row, and the counters of its project."""
        serving = pool.model_version == model.version
        shown = {
            "kind": kind_of(model),
            "serving": serving,
            "pinned": serving and pool.pin is not None,
            "job_id": model.job_id or None,
        }
        rest = {name: getattr(model, name) for name in cls.model_fields.keys() - shown.keys()}
        return cls.model_validate({**rest, **shown})


class ClassMetrics(Schema):
    """How good a model is at one class."""

    recall: Metric | None = Field(description="Of the rows of the class; null without any.")
    precision: Metric | None = Field(description="Of the rows that are predicted as the class; null without any.")


class ModelDetail(ModelOut):
    """A model with its figures by class."""

    by_class: dict[str, ClassMetrics] = Field(
        description="Of the classes that occur in the rows that were measured, or in what is predicted of them."
    )

    @classmethod
    def of(cls, model: Model, pool: Pool) -> "ModelDetail":
        """From the table's row, and the counters of its project."""
        shown = ModelOut.of(model, pool)
        known = len(model.classes)  # classes that were added since have no name here
        told_of = [(code, told) for code, told in (model.by_class or {}).items() if int(code) < known]
        by_class = {model.classes[int(code)]: told for code, told in told_of}
        return cls.model_validate({**dict(shown), "by_class": by_class})


class ActivateIn(Schema):
    """How a version serves."""

    model_config = example({}, {"pin": False})

    pin: bool = Field(
        default=True,
        description="Whether it goes on serving when a later training ends; else that one's model takes over.",
    )


# One bad number is told, not a million of them.
Vector = Annotated[list[float], Field(fail_fast=True, max_length=100_000)]


class ExampleToPredict(Schema):
    """Features of one example that need not be in the pool."""

    vector: Vector | str | None = Field(default=None, description="Numbers, or base64 of little-endian float32.")
    data: Data | None = None


class PredictIn(Schema):
    """Examples to predict."""

    model_config = example({"examples": [{"vector": [0.1, 0.7]}]}, {"examples": [{"data": {"text": "It crashes."}}]})

    examples: Annotated[list[ExampleToPredict], Field(fail_fast=True, min_length=1, max_length=1000)]


class PredictOut(Schema):
    """Predictions in the order of the examples."""

    model_version: int
    predictions: list[Prediction]


class CurvePoint(Schema):
    """One model on the learning curve."""

    model_version: int
    labels_used: int
    at: Time
    metrics: Metrics

    @classmethod
    def of(cls, model: Model) -> "CurvePoint":
        """From the table's row."""
        return cls.model_validate(
            {
                "model_version": model.version,
                "labels_used": model.labels_used,
                "at": model.created_at,
                "metrics": model.metrics,
            }
        )
