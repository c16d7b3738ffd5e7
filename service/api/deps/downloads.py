"""Objects that clients download."""

from collections.abc import Mapping

from fastapi.responses import StreamingResponse

from service.actions.digests import checked_copy
from service.api.deps.runtime import Runtime
from service.storage.parts import blocks


def download(
    held: Runtime, key: str, *, media_type: str, digest: str | None = None, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Answer with an object: the bytes that were checked are those that are sent.

    Raises:
        DamagedObjectError: It is lost, or has another digest than the one that is recorded.
    """
    copy = checked_copy(key, digest, held.objects, held.settings.spool_dir)
    own = {"Content-Length": str(copy.part.bytes), "ETag": f'"{copy.part.sha256}"'}
    return StreamingResponse(blocks(copy.file), headers={**own, **(headers or {})}, media_type=media_type)
