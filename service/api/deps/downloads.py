"""Objects that clients download."""

import os
from collections.abc import Mapping
from pathlib import PurePosixPath

from fastapi.responses import StreamingResponse

from service.actions.digests import checked_copy
from service.api.deps.runtime import Runtime
from service.errors import DamagedObjectError
from service.storage.objects import ObjectNotFoundError
from service.storage.parts import blocks


def download(
    held: Runtime, key: str, *, media_type: str, digest: str | None = None, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Answer with an object: where a digest is recorded, the bytes that were checked are those that are sent.

    Without one the object itself is read, of which those who read slowly need no copy each.

    Raises:
        DamagedObjectError: It is lost, or has another digest than the one that is recorded.
    """
    if digest is not None:
        copy = checked_copy(key, digest, held.objects, held.settings.spool_dir)
        file, size, tag = copy.file, copy.part.bytes, digest
    else:
        try:
            file = held.objects.open(key)
        except ObjectNotFoundError as error:
            raise DamagedObjectError(key, "it is lost.") from error
        size, tag = os.fstat(file.fileno()).st_size, PurePosixPath(key).stem  # a key is put once
    own = {"Content-Length": str(size), "ETag": f'"{tag}"'}
    return StreamingResponse(blocks(file), headers={**own, **(headers or {})}, media_type=media_type)
