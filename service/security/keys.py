"""API keys: made, recognised, and turned into what SQL may hold."""

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "gln_"
RANDOM_CHARS = 22  # log2(62 ** 22) = 131 bits
CHECKSUM_CHARS = 6  # 62 ** 6 > 2 ** 32
MIN_ADMIN_KEY_CHARS = 20
MIN_DISTINCT_CHARS = 6
MIN_SECRET_KEY_CHARS = 24

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_GENERATED = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_CHARS + CHECKSUM_CHARS}}}")
_BEARER_TOKEN = re.compile(r"[0-9A-Za-z._~+/=-]+")
_DEFAULTS = ("changeme", "changethis", "replaceme", "placeholder", "yourkey", "youradminkey", "insertkey")


def generate() -> str:
    """Make a new key: `gln_`, 22 random base62 characters, and 6 that are the CRC-32 of those before.

    The checksum lets secret scanners, and us, tell a key from a look-alike without asking the database.
    """
    body = PREFIX + "".join(secrets.choice(_BASE62) for _ in range(RANDOM_CHARS))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Say whether `key` may be one: with the checksum of `generate`, or of another length, as operators choose it."""
    if _GENERATED.fullmatch(key):
        return _checksum(key[:-CHECKSUM_CHARS]) == key[-CHECKSUM_CHARS:]
    try:
        check_admin_key(key)
    except ValueError:
        return False
    return True


def fingerprint(key: str) -> str:
    """Return the SHA-256 of `key` in hex: what SQL stores and looks keys up by.

    A slow, salted hash protects passwords, which people choose and guessers can list. A key is 131 random bits: no list
    of guesses helps, and a fast hash keeps each request cheap.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def hint(key: str) -> str:
    """Return the last four characters, by which a person recognises a key in a list."""
    return key[-4:]


def check_admin_key(value: str) -> None:
    """Refuse an operator's GLEANER_ADMIN_KEY that could be guessed or never be sent.

    Raises:
        ValueError: It is empty, too short, has another prefix, a character that a bearer token cannot carry, or is
            plainly a default that was never changed.
    """
    if not value:
        raise ValueError("GLEANER_ADMIN_KEY is empty. Unset it to have a key generated, or set one.")
    if not value.startswith(PREFIX):
        raise ValueError(f"GLEANER_ADMIN_KEY must begin with {PREFIX!r}.")
    if len(value) < MIN_ADMIN_KEY_CHARS:
        raise ValueError(f"GLEANER_ADMIN_KEY must have at least {MIN_ADMIN_KEY_CHARS} characters.")
    if _BEARER_TOKEN.fullmatch(value) is None:
        raise ValueError("GLEANER_ADMIN_KEY may hold letters, digits and ._~+/=- only.")
    if _looks_like_a_default(value.removeprefix(PREFIX)):
        raise ValueError(
            "GLEANER_ADMIN_KEY looks like a default. Choose a random one, e.g. from `openssl rand -hex 16`."
        )


def check_secret_key(value: str, name: str) -> None:
    """Refuse a secret that seals or opens and could be guessed; `name` is the variable that held it.

    Raises:
        ValueError: It is empty, too short, or plainly a default that was never changed.
    """
    if not value:
        raise ValueError(f"{name} is empty. Unset it to have a key generated, or set one.")
    if len(value) < MIN_SECRET_KEY_CHARS:
        raise ValueError(f"{name} must have at least {MIN_SECRET_KEY_CHARS} characters.")
    if _looks_like_a_default(value):
        raise ValueError(f"{name} looks like a default. Choose a random one, e.g. from `openssl rand -hex 32`.")


def _looks_like_a_default(text: str) -> bool:
    plain = re.sub(r"[^a-z]", "", text.lower())
    return len(set(text)) < MIN_DISTINCT_CHARS or any(default in plain for default in _DEFAULTS)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
