import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.codecs.rows import HASH_BYTES, features_hash, pointer_to
from service.errors import FieldError

FLOAT32_MAX = float(np.finfo(np.float32).max)
HASH = np.dtype((np.void, HASH_BYTES))
NO_VECTOR = FieldError(
    "/vector",
    "missing_field",
    "The features of this project are vectors: send `vector`, or the columns `x0`, `x1` and so on of a table.",
)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of some rows.

    Attributes:
        numbers: The vectors, float32 (n, dimensions).
        hashes: The `features_hash` of each, HASH (n,).
    """

    numbers: NDArray[np.float32]
    hashes: NDArray[np.void]

    @classmethod
    def of(cls, numbers: NDArray[np.float32]) -> Self:
        """Vectors that were not hashed yet."""
        return cls(numbers, np.frombuffer(hash_vectors(numbers), dtype=HASH))

    def only(self, kept: NDArray[np.bool_]) -> Self:
        """Those where the mask is true."""
        return self if kept.all() else type(self)(self.numbers[kept], self.hashes[kept])

    def without(self, positions: Sequence[int]) -> Self:
        """Those that are not at these positions."""
        kept = np.ones(len(self.numbers), dtype=np.bool_)
        kept[list(positions)] = False
        return self.only(kept)


def hash_vectors(numbers: NDArray[np.float32]) -> bytes:
    """The `features_hash` of each of the vectors (n, dimensions), one behind the other."""
    return b"".join(features_hash(memoryview(row)) for row in np.ascontiguousarray(numbers, dtype="<f4"))


class InvalidVectorError(ValueError):
    """One vector cannot be read; `problem` says why."""

    def __init__(self, problem: FieldError) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def decode_vector(value: list[float] | str, dimensions: int) -> bytes:
    """Pack a vector as little-endian float32.

    Numbers that were base64 are not looked at: `decode_vectors` checks a whole block of them at once.

    Raises:
        InvalidVectorError: The base64 is broken, the length is wrong or a number has no float32.
    """
    if isinstance(value, str):
        return _unpack_base64(value, 4 * dimensions)
    if len(value) != dimensions:
        raise InvalidVectorError(wrong_length(dimensions))
    try:
        return _float32(dimensions).pack(*value)
    except OverflowError as error:
        raise InvalidVectorError(_not_finite(next(i for i, x in enumerate(value) if abs(x) > FLOAT32_MAX))) from error


def decode_vectors(
    values: Sequence[list[float] | str], dimensions: int
) -> tuple[NDArray[np.float32], dict[int, FieldError]]:
    """Decode a block of vectors.

    Returns:
        The matrix (len(values), dimensions) with zeros for bad rows, and the problem of each bad row by its position.
    """
    problems: dict[int, FieldError] = {}
    packed = []
    for i, value in enumerate(values):
        try:
            packed.append(decode_vector(value, dimensions))
        except InvalidVectorError as error:
            problems[i] = error.problem
            packed.append(bytes(4 * dimensions))
    matrix = np.frombuffer(b"".join(packed), dtype="<f4").reshape(len(values), dimensions)
    bad = not_finite(matrix)
    if bad:
        matrix = matrix.copy()
        matrix[list(bad)] = 0
    return matrix, problems | bad


def not_finite(matrix: NDArray[np.float32]) -> dict[int, FieldError]:
    """The problem of each row (n, dimensions) that holds something else than numbers."""
    finite = np.isfinite(matrix)
    if finite.all():
        return {}
    return {i: _not_finite(int(np.argmin(finite[i]))) for i in np.flatnonzero(~finite.all(axis=1)).tolist()}


@cache
def _float32(dimensions: int) -> struct.Struct:
    return struct.Struct(f"<{dimensions}f")


def _unpack_base64(value: str, size: int) -> bytes:
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        problem = FieldError("/vector", "invalid_base64", "Not valid base64 with padding.")
        raise InvalidVectorError(problem) from error
    if len(data) != size:
        raise InvalidVectorError(wrong_length(size // 4))
    return data


def wrong_length(dimensions: int) -> FieldError:
    """What is wrong with a vector that is not of `dimensions` numbers."""
    detail = f"Expected {dimensions} numbers, or base64 of {4 * dimensions} bytes."
    return FieldError("/vector", "wrong_dimensions", detail)


def _not_finite(position: int) -> FieldError:
    return FieldError(pointer_to("vector", position), "not_finite", "Not a finite float32 number.")
