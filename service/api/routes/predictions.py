"""Bring your own model: uploads of its predictions."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.actions import prediction_uploads
from service.api.deps.bulk import TableWriting
from service.api.deps.callers import PoolWriter
from service.api.deps.parameters import ProjectId
from service.api.problems import BULK, responses
from service.api.schemas.base import Name
from service.api.schemas.predictions import UPLOAD, PredictionsAnswer
from service.errors import (
    ConflictError,
)

router = APIRouter(prefix="/v1/projects/{project_id}/predictions", tags=["models"])

ModelName = Annotated[Name, Query(description="The name of your model.", examples=["resnet"])]


@router.post(
    "",
    operation_id="uploadPredictions",
    summary="Upload predictions of your own model",
    response_model=PredictionsAnswer,
    openapi_extra=UPLOAD,
    responses=responses(ConflictError, *BULK),
)
def upload_predictions(
    project_id: ProjectId, _: PoolWriter, writing: TableWriting, model: ModelName = "external"
) -> Response:
    """They go into an open version of that name until it is activated; it serves from then on."""
    return writing.submit(
        lambda request, keep: prediction_uploads.submit(request, model, keep=keep),
        project_id,
        finish=lambda _: None,
        render=PredictionsAnswer.of,
    )
