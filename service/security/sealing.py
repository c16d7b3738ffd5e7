"""Secrets at rest: sealed in SQL, or kept in a file that only its owner reads."""

import base64
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any


class SealError(Exception):
    """A sealed value was damaged, or sealed under another secret."""


class Sealer:
    """Seals short texts with a key derived from a secret: Fernet (AES-128-CBC and HMAC-SHA256), HKDF-SHA256.

    HKDF turns a secret of any length and form into a key. It does not slow down guessing, so the secret has to be
    random, as `load_or_create` makes it.

    Args:
        secret: Seals, and opens.
        earlier: Secrets of before, which only open.
    """

    def __init__(self, secret: str, earlier: Sequence[str] = ()) -> None:
        self._secrets = (secret, *earlier)

    @cached_property
    def _fernet(self) -> Any:
        # OpenSSL takes 8 MiB of a process, and one that never meets a webhook does without.
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        def made(secret: str) -> Fernet:
            derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"gleaner: secrets at rest")
            return Fernet(base64.urlsafe_b64encode(derivation.derive(secret.encode())))

        return MultiFernet([made(secret) for secret in self._secrets])

    def seal(self, text: str) -> str:
        """Return `text` encrypted and authenticated, in ASCII; never twice the same."""
        sealed: bytes = self._fernet.encrypt(text.encode())
        return sealed.decode()

    def open(self, sealed: str) -> str:
        """Return what `seal` was given.

        Raises:
            SealError: `sealed` was changed, or sealed under another secret.
        """
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as above

        try:
            text: bytes = self._fernet.decrypt(sealed.encode())
            return text.decode()
        except InvalidToken as error:
            raise SealError("A stored secret cannot be opened: GLEANER_SECRET_KEY or the key file changed.") from error

    def opens(self, sealed: str) -> bool:
        """Whether `open` would."""
        try:
            self.open(sealed)
        except SealError:
            return False
        return True


def random_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def load_or_create(path: Path, make: Callable[[], str] = random_secret) -> str:
    """Return the secret in the file `path`; when there is none, make one and keep it there with mode 0600.

    The content is complete before the name exists (a hard link, which fails when the name is taken), so of two
    processes that race both return the winner's secret, and a crash leaves no half-written file.

    Raises:
        ValueError: The file exists, and is empty or can be read by others.
    """
    if not path.exists():
        _create(path, make())
    secret = path.read_text().strip()
    if not secret:
        raise ValueError(f"The key file {path} is empty. Remove it to have a new one made.")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"The key file {path} can be read by other users. Run `chmod 600 {path}`.")
    return secret


def _create(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # O_EXCL and 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        Path(name).unlink()
