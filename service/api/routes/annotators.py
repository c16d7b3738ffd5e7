"""Programs that label."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.actions import annotators
from service.api.deps.callers import ProjectWriter, WebhookReader
from service.api.deps.edge import Writing
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import NO_FIELDS, PageSize, PageToken, ProjectId
from service.api.problems import BODY, responses
from service.api.schemas.annotators import (
    AnnotatorIn,
    AnnotatorOut,
    AnnotatorPatch,
    AnnotatorWithSecret,
    CallOut,
    call_out,
)
from service.api.schemas.base import Page, decode_token
from service.errors import ConflictError, IdempotencyMismatchError, MalformedRequestError, NotFoundError

router = APIRouter(prefix="/v1/projects/{project_id}/annotators", tags=["annotators"])

AnnotatorId = Annotated[str, Path(description="Id of the annotator.", examples=["ann_01jd5k3v7mq8z2x4c6b8n0m1aa"])]

_SECRET = frozenset({"secret"})


@router.post(
    "",
    operation_id="createAnnotator",
    summary="Create a program that labels",
    status_code=201,
    response_model=AnnotatorWithSecret,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
)
def create_annotator(
    project_id: ProjectId, body: AnnotatorIn, _: ProjectWriter, writing: Writing, held: Held
) -> Response:
    """While `annotation.automatic` of the project is on, it is sent one batch after another, signed like a webhook.

    The answer holds the signing secret, which is never shown again. What the program is sent, and may answer, is
    under `webhooks` in this document (`annotation.requested`).
    """
    held.guard.check_url(body.url)
    return writing.answer(
        lambda session: annotators.create(
            session, project_id, body.config(), url=body.url, sealer=held.sealer, now=writing.now
        ),
        render=AnnotatorWithSecret.of_new,
        status=201,
        headers=lambda made: {"Location": f"/v1/projects/{project_id}/annotators/{made[0].annotator.id}"},
        secrets=_SECRET,
    )


@router.get(
    "",
    operation_id="listAnnotators",
    summary="List programs that label",
    responses=responses(MalformedRequestError, NotFoundError),
)
def list_annotators(
    project_id: ProjectId, _: WebhookReader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[AnnotatorOut]:
    """In order of creation."""
    tied = {"list": "annotators", "project": project_id}
    found = annotators.page(session, project_id, after=decode_token(page_token, **tied), size=page_size + 1)
    return Page.of(found, page_size, show=AnnotatorOut.of, position=lambda view: view.annotator.id, tied=tied)


@router.get(
    "/{annotator_id}",
    operation_id="getAnnotator",
    summary="Get a program that labels",
    responses=responses(NotFoundError),
)
def get_annotator(project_id: ProjectId, annotator_id: AnnotatorId, _: WebhookReader, session: Reading) -> AnnotatorOut:
    """What it has used of its budgets, whether it was stopped and why, and the batch that it has now."""
    return AnnotatorOut.of(annotators.get(session, project_id, annotator_id))


@router.patch(
    "/{annotator_id}",
    operation_id="changeAnnotator",
    summary="Change, stop or resume a program that labels",
    response_model=AnnotatorOut,
    responses=responses(*BODY, NotFoundError, ConflictError),
)
def change_annotator(
    project_id: ProjectId,
    annotator_id: AnnotatorId,
    body: AnnotatorPatch,
    _: ProjectWriter,
    writing: Writing,
    held: Held,
) -> Response:
    """A program that is stopped is sent nothing, and nothing is taken from it: neither answers nor labels."""
    if body.url is not None:
        held.guard.check_url(body.url)
    return writing.answer(
        lambda session: annotators.change(session, project_id, annotator_id, body.changes(), now=writing.now),
        render=AnnotatorOut.of,
    )


@router.delete(
    "/{annotator_id}",
    operation_id="deleteAnnotator",
    summary="Delete a program that labels",
    status_code=204,
    responses=responses(NotFoundError),
)
def delete_annotator(project_id: ProjectId, annotator_id: AnnotatorId, _: ProjectWriter, writing: Writing) -> Response:
    """Its calls go with it; its labels stay."""
    return writing.answer(
        lambda session: annotators.delete(session, project_id, annotator_id, now=writing.now),
        render=lambda _: None,
        status=204,
    )


@router.post(
    "/{annotator_id}/rotate-secret",
    operation_id="rotateAnnotatorSecret",
    summary="Rotate the secret of a program that labels",
    response_model=AnnotatorWithSecret,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
    dependencies=NO_FIELDS,
)
def rotate_annotator_secret(
    project_id: ProjectId, annotator_id: AnnotatorId, _: ProjectWriter, writing: Writing, held: Held
) -> Response:
    """For 24 hours what it is sent is signed with the new and the old secret.

    An old one that the service cannot open any more, as its secret key was lost, signs no more; what failures
    have switched off stays off.
    """
    return writing.answer(
        lambda session: annotators.rotate_secret(
            session, project_id, annotator_id, sealer=held.sealer, now=writing.now
        ),
        render=AnnotatorWithSecret.of_new,
        secrets=_SECRET,
    )


@router.get(
    "/{annotator_id}/calls",
    operation_id="listCalls",
    summary="List the calls of a program that labels",
    responses=responses(MalformedRequestError, NotFoundError),
)
def list_calls(
    project_id: ProjectId,
    annotator_id: AnnotatorId,
    _: WebhookReader,
    session: Reading,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> Page[CallOut]:
    """The newest first: each batch that it was sent, what came of it, and how it failed if it did."""
    tied = {"annotator": annotator_id}
    before = decode_token(page_token, **tied)
    found = annotators.call_page(session, project_id, annotator_id, before=before, size=page_size + 1)
    return Page.of(found, page_size, show=call_out, position=lambda call: call.id, tied=tied)
