"""Webhooks and their deliveries."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.actions import webhooks
from service.api.deps.callers import ProjectWriter, WebhookReader
from service.api.deps.edge import Writing
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import NO_FIELDS, PageSize, PageToken
from service.api.problems import BODY, responses
from service.api.schemas.base import Page, decode_token
from service.api.schemas.webhooks import DeliveryOut, WebhookIn, WebhookOut, WebhookPatch, WebhookWithSecret
from service.db.tables import Webhook
from service.errors import (
    ConflictError,
    IdempotencyMismatchError,
    MalformedRequestError,
    NotFoundError,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookId = Annotated[str, Path(description="Id of the webhook.", examples=["whk_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
DeliveryId = Annotated[str, Path(description="Id of the delivery.", examples=["dlv_01jd5k3v7mq8z2x4c6b8n0m1aa"])]

_SECRET = frozenset({"secret"})


def _with_secret(made: tuple[Webhook, str]) -> WebhookWithSecret:
    webhook, secret = made
    return WebhookWithSecret(**WebhookOut.model_validate(webhook).model_dump(), secret=secret)


@router.post(
    "",
    operation_id="createWebhook",
    summary="Create a webhook",
    status_code=201,
    response_model=WebhookWithSecret,
    responses=responses(*BODY, ConflictError, IdempotencyMismatchError),
)
def create_webhook(body: WebhookIn, who: ProjectWriter, writing: Writing, held: Held) -> Response:
    """The answer holds the signing secret, which is never shown again. A key of one project names that project."""
    held.guard.check_url(body.url)
    return writing.answer(
        lambda session: webhooks.create(
            session,
            who,
            url=body.url,
            event_names=body.events,
            project_id=body.project_id,
            sealer=held.sealer,
            now=writing.now,
        ),
        render=_with_secret,
        status=201,
        headers=lambda made: {"Location": f"/v1/webhooks/{made[0].id}"},
        secrets=_SECRET,
    )


@router.get("", operation_id="listWebhooks", summary="List webhooks", responses=responses(MalformedRequestError))
def list_webhooks(
    who: WebhookReader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[WebhookOut]:
    """In order of creation; a key of one project sees the webhooks of that project."""
    tied = {"list": "webhooks", "only": who.project_id}
    found = webhooks.page(session, who, after=decode_token(page_token, **tied), size=page_size + 1)
    return Page.of(found, page_size, show=WebhookOut.model_validate, position=lambda webhook: webhook.id, tied=tied)


@router.get("/{webhook_id}", operation_id="getWebhook", summary="Get a webhook", responses=responses(NotFoundError))
def get_webhook(webhook_id: WebhookId, who: WebhookReader, session: Reading) -> WebhookOut:
    """Without its secret."""
    return WebhookOut.model_validate(webhooks.get(session, who, webhook_id))


@router.patch(
    "/{webhook_id}",
    operation_id="changeWebhook",
    summary="Change a webhook",
    response_model=WebhookOut,
    responses=responses(*BODY, NotFoundError),
)
def change_webhook(
    webhook_id: WebhookId, body: WebhookPatch, who: ProjectWriter, writing: Writing, held: Held
) -> Response:
    """While a webhook is disabled it gets no new events, and its pending deliveries wait until it is enabled."""
    if body.url is not None:
        held.guard.check_url(body.url)
    return writing.answer(
        lambda session: webhooks.change(session, who, webhook_id, body.changes(), now=writing.now),
        render=WebhookOut.model_validate,
    )


@router.delete(
    "/{webhook_id}",
    operation_id="deleteWebhook",
    summary="Delete a webhook",
    status_code=204,
    responses=responses(NotFoundError),
)
def delete_webhook(webhook_id: WebhookId, who: ProjectWriter, writing: Writing) -> Response:
    """Its deliveries go with it."""
    return writing.answer(lambda session: webhooks.delete(session, who, webhook_id), render=lambda _: None, status=204)


@router.post(
    "/{webhook_id}/rotate-secret",
    operation_id="rotateWebhookSecret",
    summary="Rotate a webhook's secret",
    response_model=WebhookWithSecret,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
    dependencies=NO_FIELDS,
)
def rotate_webhook_secret(webhook_id: WebhookId, who: ProjectWriter, writing: Writing, held: Held) -> Response:
    """For 24 hours deliveries are signed with the new and the old secret.

    An old one that the service cannot open any more, as its secret key was lost, signs no more; what failures
    have switched off stays off.
    """
    return writing.answer(
        lambda session: webhooks.rotate_secret(session, who, webhook_id, sealer=held.sealer, now=writing.now),
        render=_with_secret,
        secrets=_SECRET,
    )


@router.post(
    "/{webhook_id}/test",
    operation_id="testWebhook",
    summary="Send a test event",
    status_code=202,
    response_model=DeliveryOut,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
    dependencies=NO_FIELDS,
)
def test_webhook(webhook_id: WebhookId, who: ProjectWriter, writing: Writing) -> Response:
    """Sends `webhook.test` to this webhook alone; its deliveries tell what came of it."""
    return writing.answer(
        lambda session: webhooks.send_test(session, who, webhook_id, now=writing.now),
        render=DeliveryOut.of,
        status=202,
    )


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="listDeliveries",
    summary="List a webhook's deliveries",
    responses=responses(MalformedRequestError, NotFoundError),
)
def list_deliveries(
    webhook_id: WebhookId, who: WebhookReader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[DeliveryOut]:
    """The newest first, each with its attempts. Kept after their end as long as the operator says: 30 days."""
    tied = {"webhook": webhook_id}
    before = decode_token(page_token, **tied)
    found = webhooks.deliveries(session, who, webhook_id, before=before, size=page_size + 1)
    return Page.of(found, page_size, show=DeliveryOut.of, position=lambda view: view.delivery.id, tied=tied)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    summary="Send a delivery again",
    status_code=202,
    response_model=DeliveryOut,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
    dependencies=NO_FIELDS,
)
def redeliver(webhook_id: WebhookId, delivery_id: DeliveryId, who: ProjectWriter, writing: Writing) -> Response:
    """The same body under the same `webhook-id`; its schedule of attempts starts anew."""
    return writing.answer(
        lambda session: webhooks.redeliver(session, who, webhook_id, delivery_id, now=writing.now),
        render=DeliveryOut.of,
        status=202,
    )
