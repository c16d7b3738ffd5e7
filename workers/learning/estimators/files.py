"""The files of models and encoders, from which nothing is built but what is of trusted types."""

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.registry import TRUSTED_TYPES
from workers.learning.estimators.soundness import flaws

# What zipfile, skops, numpy and the types that skops builds make of a file that is not theirs.
_FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


class ModelFileError(Exception):
    """A file is not what the `dump` of a model makes."""


def read_pipeline(data: bytes) -> Pipeline:
    """The one pipeline of a file.

    Raises:
        ModelFileError: the file holds anything else; nothing of it was run.
    """
    found = read_file(data)
    if not isinstance(found, Pipeline):
        raise ModelFileError(f"It holds {type(found).__name__}, and no pipeline.")
    return found


def read_members(data: bytes) -> tuple[Pipeline | float, ...]:
    """The pipelines of a file of several, or a number in the place of one.

    Raises:
        ModelFileError: the file holds anything else; nothing of it was run.
    """
    return _members(read_file(data))


def read_committee(data: bytes) -> tuple[tuple[Pipeline | float, ...], ...]:
    """The models of a file of several, each as `read_members` gives one.

    Raises:
        ModelFileError: the file holds anything else; nothing of it was run.
    """
    found = read_file(data)
    if not isinstance(found, list):
        raise ModelFileError("It holds no list of models.")
    return tuple(_members(member) for member in found)


def _members(found: object) -> tuple[Pipeline | float, ...]:
    if not isinstance(found, list) or not all(isinstance(member, Pipeline | float) for member in found):
        raise ModelFileError("It holds no list of pipelines.")
    return tuple(found)


def read_file(data: bytes, *, trusted: Sequence[str] = TRUSTED_TYPES) -> object:
    """What a file holds.

    Args:
        data: The file (skops format).
        trusted: Names of types that may be built, beside those that skops trusts.

    Raises:
        ModelFileError: it cannot be read, holds other types, or indices that lead nowhere.
    """
    try:
        _check_size(data)
        found: object = skops.io.loads(data, trusted=list(trusted))
        flaw = next(flaws(found, trusted=trusted), None)
    except _FAULTS as error:
        raise ModelFileError(f"It cannot be read ({type(error).__name__}).") from error
    if flaw is not None:
        raise ModelFileError(flaw)
    return found


def tried(use: Callable[[], NDArray[np.float32]], *, columns: int | None = None) -> NDArray[np.float32]:
    """What something from a file makes of some rows.

    Raises:
        ModelFileError: nothing, no numbers, or another matrix than one of so many columns.
        FloatingPointError: raised by `use`.
    """
    try:
        made = use()
    except FloatingPointError:
        raise
    except _FAULTS as error:
        raise ModelFileError(f"It is not fitted to such rows ({type(error).__name__}).") from error
    if columns not in {None, made.shape[1]} or not np.isfinite(made).all():
        raise ModelFileError(f"It makes {made.shape[1]} numbers of a row, or none.")
    return made


def _check_size(data: bytes) -> None:
    """Refuse what unpacks to more, or with other faults: skops packs without compression."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        members = packed.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > len(data):
        raise ModelFileError(f"Its {len(data)} bytes unpack to {unpacked}.")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ModelFileError("It is compressed.")
