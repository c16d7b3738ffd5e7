"""Signatures of webhooks: Standard Webhooks 1.0, https://www.standardwebhooks.com."""

import base64
import hashlib
import hmac
import secrets as randomness
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32  # the standard asks for 24 to 64


def new_secret() -> str:
    """Return a new signing secret: `whsec_` and base64 of random bytes."""
    return PREFIX + base64.b64encode(randomness.token_bytes(SECRET_BYTES)).decode()


def sign(secrets: Sequence[str], message_id: str, *, timestamp: int, body: bytes) -> str:
    """Return the value of the `webhook-signature` header.

    Args:
        secrets: Every secret that still counts. After a rotation the old one signs along for a while, so that a
            receiver may change over at any time in between.
        message_id: The `webhook-id` header; the same over all retries.
        timestamp: The `webhook-timestamp` header, in seconds since 1970: of this attempt, not of the event, since
            receivers refuse what is more than minutes old.
        body: The body, byte for byte as sent.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + _mac(secret, content) for secret in secrets)


def _mac(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
