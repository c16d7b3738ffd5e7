from dataclasses import dataclass
from typing import Self

from service.settings import MIB, Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a bulk body is read before it is refused."""

    max_line_bytes: int
    max_json_bytes: int
    max_decoded_bytes: int
    max_rows: int
    table_memory_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that the operator has set."""
        return cls(
            max_line_bytes=settings.max_line_bytes,
            max_json_bytes=settings.max_json_bytes,
            max_decoded_bytes=settings.max_decoded_bytes,
            max_rows=settings.max_rows,
            table_memory_bytes=settings.table_memory_mib * MIB,
        )
