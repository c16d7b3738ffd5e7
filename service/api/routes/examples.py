"""The pool: bulk uploads of examples, reading and deleting them, and the lists of bad rows."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from service.actions import bulk, examples, large_uploads, projects, uploads
from service.actions.bulk import BulkRequest, Outcome
from service.actions.examples import Status
from service.api.deps.bulk import Metrics, TableWriting
from service.api.deps.callers import BulkReader, PoolWriter, Reader
from service.api.deps.downloads import download
from service.api.deps.edge import Writing
from service.api.deps.exports import JSON, STREAMS, Accept, Export, form_of
from service.api.deps.held import Held
from service.api.deps.parameters import PageSize, PageToken, ProjectId
from service.api.deps.runtime import utc_now
from service.api.problems import BODY, BULK, responses
from service.api.schemas.base import Page, decode_number, decode_token
from service.api.schemas.bulk import UploadAnswer
from service.api.schemas.examples import COLUMNS, UPLOAD, ExampleDetail, ExampleIn, ExampleOut, as_row
from service.errors import (
    MalformedRequestError,
    NotAcceptableError,
    NotFoundError,
)

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["examples"])

ExampleId = Annotated[str, Path(description="The client's own id, URL-encoded.", examples=["a17"])]
StatusFilter = Annotated[Status | None, Query(description="Leased examples are among the unlabeled ones.")]
ListId = Annotated[str, Path(description="From `errors_url`.", examples=["err_01jd5k3v7mq8z2x4c6b8n0m1aa"])]


@router.post(
    "/examples",
    operation_id="uploadExamples",
    summary="Upload examples",
    response_model=UploadAnswer,
    openapi_extra=UPLOAD,
    responses=responses(*BULK),
)
def upload_examples(project_id: ProjectId, _: PoolWriter, writing: TableWriting, metrics: Metrics) -> Response:
    """An example with a known id and other content is updated; a `label` in a row is a label."""

    def submit(request: BulkRequest, keep: Callable[[Session, Outcome], None]) -> Outcome:
        outcome = uploads.submit(request, keep=keep)
        metrics.stored_examples(outcome.stored)
        return outcome

    return writing.submit(
        submit,
        project_id,
        finish=large_uploads.finish,
        render=UploadAnswer.of,
    )


@router.get(
    "/examples",
    operation_id="listExamples",
    summary="List or export examples",
    response_model=Page[ExampleOut],
    responses={**responses(MalformedRequestError, NotFoundError, NotAcceptableError), 200: STREAMS},
)
def list_examples(
    project_id: ProjectId,
    _: Reader,
    held: Held,
    status: StatusFilter = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
    accept: Accept = None,
) -> Response:
    """In the order of upload, changed features last; `Accept` of NDJSON, CSV or Parquet streams all of them."""
    form = form_of(accept)
    if form != JSON:
        with held.database.read() as session:
            projects.get(session, project_id)
        return Export(COLUMNS, partial(_read, project_id, status)).stream(held, form)
    tied = {"list": "examples", "project": project_id, "status": status}
    number = decode_number(decode_token(page_token, **tied))
    after = -1 if number is None else number
    with held.database.read() as session:
        views = examples.page(session, project_id, status=status, after=after, size=page_size + 1, now=utc_now())
        page = Page[ExampleOut].of(
            views, page_size, show=ExampleOut.of, position=lambda view: view.example.row, tied=tied
        )
    return Response(page.render(), media_type=JSON)


def _read(
    project_id: str, status: Status | None, session: Session, after: int | None, size: int
) -> tuple[list[dict[str, Any]], int | None]:
    first = -1 if after is None else after
    views = examples.page(session, project_id, status=status, after=first, size=size, now=utc_now())
    return [as_row(view) for view in views], views[-1].example.row if views else None


@router.get(
    "/examples/{example_id:path}",
    operation_id="getExample",
    summary="Get an example",
    responses=responses(NotFoundError),
)
def get_example(project_id: ProjectId, example_id: ExampleId, _: Reader, held: Held) -> ExampleDetail:
    """The example with its labels and the last prediction."""
    with held.database.read() as session:
        view = examples.get(session, project_id, example_id, now=utc_now())
    prediction = examples.last_prediction(held.database.read, view.example, objects=held.objects)
    return ExampleDetail.of(view, prediction=prediction)


@router.patch(
    "/examples/{example_id:path}",
    operation_id="changeExample",
    summary="Pin an example, or change its priority or group",
    response_model=ExampleOut,
    responses=responses(*BODY, NotFoundError),
)
def change_example(
    project_id: ProjectId, example_id: ExampleId, body: ExampleIn, _: PoolWriter, writing: Writing
) -> Response:
    """The next batch and `next` go by it. A later upload replaces the group and the priority, and leaves the pin."""
    return writing.answer(
        lambda session: examples.change(session, project_id, example_id, body.changes(), now=writing.now),
        render=ExampleOut.of,
    )


@router.delete(
    "/examples/{example_id:path}",
    operation_id="deleteExample",
    summary="Delete an example",
    status_code=204,
    responses=responses(NotFoundError),
)
def delete_example(
    project_id: ProjectId, example_id: ExampleId, _: PoolWriter, writing: Writing, held: Held
) -> Response:
    """The example goes with its labels; they stay in the history."""
    share = held.settings.jobs_in_queue_per_project
    return writing.answer(
        lambda session: examples.delete(session, project_id, example_id, now=writing.now, share=share),
        render=lambda _: None,
        status=204,
    )


@router.get(
    "/error-lists/{list_id}",
    operation_id="getErrorList",
    summary="Get all bad rows of a bulk body",
    response_class=StreamingResponse,
    responses={
        **responses(NotFoundError),
        200: {
            "description": "A bad row on each line.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
    },
)
def get_error_list(project_id: ProjectId, list_id: ListId, _: BulkReader, held: Held) -> StreamingResponse:
    """NDJSON, kept for 24 hours: `line`, `id`, `pointer`, `code` and `detail` of every bad row."""
    with held.database.read() as session:
        key = bulk.error_list_key(session, project_id, list_id, now=utc_now())
    return download(held, key, media_type="application/x-ndjson")
