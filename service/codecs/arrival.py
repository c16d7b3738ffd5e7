"""What a body shows to be too large while it is still coming, so that the rest need not be waited for."""

from service.codecs.limits import Limits
from service.codecs.media import Media
from service.codecs.row_errors import ROW_A_LINE
from service.errors import PayloadTooLargeError


class Arrival:
    """Watches the bytes of a body as they come; what is compressed is only looked at when it is there as a whole.

    Args:
        media: From `parse_media`.
        limits: What is too large.
        atomic: Whether one bad row refuses the body; else a line of NDJSON that is too long leaves the others good.
    """

    def __init__(self, media: Media, limits: Limits, *, atomic: bool) -> None:
        plain = media.coding == "identity"
        self._is_document = plain and media.format == "json"
        self._has_lines = plain and (media.format == "csv" or (media.format == "ndjson" and atomic))
        self._limits = limits
        self._bytes = 0
        self._number = 1
        self._line_bytes = 0

    def take(self, piece: bytes | bytearray) -> None:
        """Look at the next bytes.

        Raises:
            PayloadTooLargeError: The body would be refused, whatever follows.
        """
        self._bytes += len(piece)
        most = self._limits.max_json_bytes
        if self._is_document and self._bytes > most:
            raise PayloadTooLargeError(f"A JSON document may have {most} bytes. Send NDJSON, a row a line, or parts.")
        if self._has_lines:
            self._take_lines(piece)

    def _take_lines(self, piece: bytes | bytearray) -> None:
        first = piece.find(b"\n")
        self._check(self._line_bytes + (len(piece) if first < 0 else first))
        if first < 0:
            self._line_bytes += len(piece)
        else:
            self._number += piece.count(b"\n")
            self._line_bytes = len(piece) - piece.rfind(b"\n") - 1
            self._check(self._line_bytes)

    def _check(self, line_bytes: int) -> None:
        most = self._limits.max_line_bytes
        if line_bytes > most:
            long = f"Line {self._number} is over {most} bytes, so nothing was stored."
            raise PayloadTooLargeError(f"{long} Shorten that row or leave it out. {ROW_A_LINE}")
