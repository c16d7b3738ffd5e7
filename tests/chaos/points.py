"""Examples whose vector and right class follow from their id and edition."""

import random
from typing import Any

DIMENSIONS = 8
CLASSES = ("a", "b", "c")
_NUMBERS = 100_000  # of predictions: few enough for half of single precision to tell them apart


def vector(example_id: str, edition: int = 0) -> list[float]:
    """The vector of an example; every other edition has a new one."""
    name = f"{example_id} {edition // 2}" if edition > 1 else example_id
    rng = random.Random(name)  # noqa: S311  # the same example again
    return [round(rng.gauss(0, 1), 6) for _ in range(DIMENSIONS)]


def row(example_id: str, edition: int) -> dict[str, Any]:
    """An example as it is uploaded."""
    return {"id": example_id, "vector": vector(example_id, edition), "data": {"edition": edition}}


def prediction(number: int) -> dict[str, float]:
    """What a model elsewhere says; the number can be read from it."""
    return {"a": number / _NUMBERS, "b": 1 - number / _NUMBERS, "c": 0.0}


def number_of(said: dict[str, Any]) -> int:
    """The number of a prediction of a batch."""
    share: float = said["probabilities"]["a"]
    return round(share * _NUMBERS)


def truth(example_id: str) -> str:
    """Its right class: the greatest of its first numbers."""
    numbers = vector(example_id)[: len(CLASSES)]
    return CLASSES[numbers.index(max(numbers))]
