"""Labels."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from service.actions import labels, projects
from service.api.deps.bulk import BulkWriting, LabelGroups
from service.api.deps.callers import LabelWriter, Reader
from service.api.deps.edge import Writing
from service.api.deps.exports import JSON, STREAMS, Accept, Export, form_of
from service.api.deps.held import Held
from service.api.deps.parameters import PageSize, PageToken, ProjectId
from service.api.problems import BULK, responses
from service.api.schemas.base import Page, decode_token
from service.api.schemas.labels import SUBMIT, LabelOut, LabelsAnswer, as_row, columns
from service.catalog.tasks import task_of
from service.errors import (
    MalformedRequestError,
    NotAcceptableError,
    NotFoundError,
)

router = APIRouter(prefix="/v1/projects/{project_id}/labels", tags=["labels"])

LabelId = Annotated[str, Path(description="Id of the label.", examples=["lbl_01jd5k3v7mq8z2x4c6b8n0m1aa"])]


@router.post(
    "",
    operation_id="recordLabels",
    summary="Send labels",
    response_model=LabelsAnswer,
    openapi_extra=SUBMIT,
    responses=responses(*BULK),
)
async def record_labels(project_id: ProjectId, _: LabelWriter, writing: BulkWriting, together: LabelGroups) -> Response:
    """One current label of each annotator for each example; another value updates it and keeps the history."""
    return await writing.submit_labels(together, project_id, render=LabelsAnswer.of_labels)


@router.get(
    "",
    operation_id="listLabels",
    summary="List or export labels",
    response_model=Page[LabelOut],
    responses={
        **responses(MalformedRequestError, NotFoundError, NotAcceptableError),
        200: STREAMS,
    },
)
def list_labels(
    project_id: ProjectId,
    _: Reader,
    held: Held,
    page_size: PageSize = 100,
    page_token: PageToken = None,
    accept: Accept = None,
) -> Response:
    """With `Accept` of NDJSON, CSV or Parquet all of them are streamed; each says how its batch was made."""
    form = form_of(accept)
    if form != JSON:
        with held.database.read() as session:
            task = task_of(projects.get(session, project_id).task)
        return Export(columns(task), partial(_read, project_id)).stream(held, form)
    tied = {"list": "labels", "project": project_id}
    after = decode_token(page_token, **tied)
    with held.database.read() as session:
        project = projects.get(session, project_id)
        views = labels.page(session, project, after=after, size=page_size + 1)
    page = Page[LabelOut].of(views, page_size, show=LabelOut.of, position=lambda view: view.label.id, tied=tied)
    return Response(page.render(), media_type="application/json")


def _read(project_id: str, session: Session, after: str | None, size: int) -> tuple[list[dict[str, Any]], str | None]:
    views = labels.page(session, projects.get(session, project_id), after=after, size=size)
    return [as_row(view) for view in views], views[-1].label.id if views else None


@router.delete(
    "/{label_id}",
    operation_id="deleteLabel",
    summary="Delete a label",
    status_code=204,
    responses=responses(NotFoundError),
)
def delete_label(project_id: ProjectId, label_id: LabelId, _: LabelWriter, writing: Writing, held: Held) -> Response:
    """Its example may be picked again; the label stays in the history."""
    share = held.settings.jobs_in_queue_per_project
    return writing.answer(
        lambda session: labels.delete(session, project_id, label_id, now=writing.now, share=share),
        render=lambda _: None,
        status=204,
    )
