"""Uploaded predictions of a model of the client's own."""

from pydantic import Field

from service.actions.prediction_uploads import Uploaded
from service.api.schemas.bulk import BulkAnswer, request_body
from service.codecs.rows import PredictionRow


class PredictionsAnswer(BulkAnswer):
    """What became of the predictions of a body."""

    model_version: int | None = Field(
        description="The open version that they are in: activate it to be served by it. Null when nothing was stored."
    )
    missing: int = Field(description="How many rows of the pool have no prediction of this version, labelled ones too.")

    @classmethod
    def of(cls, uploaded: Uploaded) -> "PredictionsAnswer":
        """From the action's outcome."""
        return cls.model_validate(uploaded)


UPLOAD = request_body(
    "predictions",
    PredictionRow,
    rows=[
        {"id": "a17", "probabilities": {"bug": 0.7, "praise": 0.1, "question": 0.2}},
        {"id": "a18", "probabilities": [0.2, 0.5, 0.3]},
    ],
    csv='id,probabilities\na17,"[0.7, 0.1, 0.2]"\n',
    description="Predictions of examples by their ids. Classes: `probabilities` by class, or in the order of the "
    "project's classes; they sum to 1 unless an example may have several classes. Of a committee, `members` holds "
    "the probabilities of each; without `probabilities`, their mean counts. Numbers: `mean` and `spread`. A `vector` "
    "(an embedding of the model, say) replaces the project's features in strategies that need predictions. All rows "
    "of a version have as many members, and vectors of one length. In CSV, `probabilities` and `members` are JSON.",
    tables="The fields of the JSON form as columns: `probabilities` and `vector` as lists of numbers (or structs by "
    "class), `members` as lists of such lists. Needs the extra `arrow`.",
)
