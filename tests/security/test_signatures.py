import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.security import signatures

BODY = '{"type": "training.succeeded", "data": {"name": "café"}}'.encode()


def _headers(secrets: list[str], timestamp: int) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures.sign(secrets, "msg_1", timestamp=timestamp, body=BODY),
    }


def test_secrets_have_the_form_of_the_standard() -> None:
    first, second = signatures.new_secret(), signatures.new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert 24 <= len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) <= 64


def test_a_receiver_verifies_with_the_standard_library_during_a_rotation() -> None:
    old, new = signatures.new_secret(), signatures.new_secret()
    headers = _headers([new, old], int(time.time()))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers)["type"] == "training.succeeded"


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "secret", "age"])
def test_a_receiver_notices_any_change(change: str) -> None:
    secret = signatures.new_secret()
    now = int(time.time())
    headers = _headers([secret], now - 600 if change == "age" else now)
    if change in {"id", "timestamp"}:
        headers[f"webhook-{change}"] = str(now + 1)
    receiver = Webhook(signatures.new_secret() if change == "secret" else secret)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(BODY + b" " if change == "body" else BODY, headers)
