"""Secrets in texts that others see."""

import re

# A client may put a secret into a path or a name, a library one into its message. Keys and webhook secrets hold what
# bearer tokens and base64 may, perhaps percent-encoded.
_TOKEN = re.compile(r"(gln_|whsec_)[0-9A-Za-z._~+/=%-]{8,}")
# A password ends at the last @ of its host; SQLAlchemy takes one with slashes. Nothing is tried twice: texts are long.
_PASSWORD = re.compile(r"(://[^\s/:@\"]*:)[^\s@]*+(?P<host>(?:@[^\s/?@]*+(?=@))*+@)?")


def conceal(text: str) -> str:
    """Return `text` without the secrets that can be told by their form: keys, webhook secrets, passwords in URLs."""
    return _TOKEN.sub(r"\1...", _PASSWORD.sub(_without_password, text))


def _without_password(found: re.Match[str]) -> str:
    return f"{found[1]}...@" if found["host"] else found[0]
