"""Labels."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import StreamingResponse

from service.actions import labels, projects
from service.api.deps.bulk import BulkWriting, LabelGroups
from service.api.deps.callers import LabelWriter, Reader
from service.api.deps.edge import Writing
from service.api.deps.parameters import PageSize, PageToken, ProjectId
from service.api.deps.runtime import Held, Runtime
from service.api.problems import responses
from service.api.schemas.base import Page, decode_token, encode_token
from service.api.schemas.labels import COLUMNS, SUBMIT, LabelOut, LabelsAnswer, as_row
from service.codecs.exports import write_csv, write_ndjson
from service.errors import (
    IdempotencyInProgressError,
    IdempotencyMismatchError,
    MalformedRequestError,
    NotAcceptableError,
    NotFoundError,
    PayloadTooLargeError,
    RowsRejectedError,
    UnsupportedMediaTypeError,
)

router = APIRouter(prefix="/v1/projects/{project_id}/labels", tags=["labels"])

LabelId = Annotated[str, Path(description="Id of the label.", examples=["lbl_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
# OpenAPI says it by the media types of the answer
Accept = Annotated[str | None, Header(include_in_schema=False)]

_SLICE = 1000
_NDJSON, _CSV = "application/x-ndjson", "text/csv"
_JSON = ("application/json", "application/*", "*/*", "")


@router.post(
    "",
    operation_id="recordLabels",
    summary="Send labels",
    response_model=LabelsAnswer,
    openapi_extra=SUBMIT,
    responses=responses(
        MalformedRequestError,
        NotFoundError,
        IdempotencyInProgressError,
        PayloadTooLargeError,
        UnsupportedMediaTypeError,
        RowsRejectedError,
        IdempotencyMismatchError,
    ),
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
        200: {
            "description": "A page, or all labels as a stream.",
            "content": {_NDJSON: {"schema": {"type": "string"}}, _CSV: {"schema": {"type": "string"}}},
        },
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
    """With `Accept: application/x-ndjson` or `text/csv`, all of them are streamed; each says how its batch was made."""
    form = _form(accept)
    if form == _NDJSON:
        return StreamingResponse(write_ndjson(_all(held, project_id)), media_type=_NDJSON)
    if form == _CSV:
        return StreamingResponse(write_csv(_all(held, project_id), COLUMNS), media_type=_CSV)
    after = decode_token(page_token, list="labels", project=project_id)
    with held.database.read() as session:
        project = projects.get(session, project_id)
        views = labels.page(session, project, after=after, size=page_size + 1)
    more = views[page_size - 1].label.id if len(views) > page_size else None
    token = encode_token(more, list="labels", project=project_id)
    page = Page[LabelOut](items=[LabelOut.of(view) for view in views[:page_size]], next_page_token=token)
    return Response(page.render(), media_type="application/json")


def _form(accept: str | None) -> str:
    """The media type to answer with: the first one of `Accept` that can be made."""
    for part in (accept or "").split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted in {_NDJSON, _CSV}:
            return wanted
        if wanted in _JSON:
            return "application/json"
    raise NotAcceptableError(f"Labels can be read as application/json, {_NDJSON} or {_CSV}.")


def _all(held: Runtime, project_id: str) -> Iterator[dict[str, Any]]:
    """Every label, by slices that are short reads of their own."""
    with held.database.read() as session:
        projects.get(session, project_id)
    return _slices(held, project_id)


def _slices(held: Runtime, project_id: str) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        with held.database.read() as session:
            views = labels.page(session, projects.get(session, project_id), after=after, size=_SLICE)
        yield from map(as_row, views)
        if len(views) < _SLICE:
            return
        after = views[-1].label.id


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
