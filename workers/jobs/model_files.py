"""The files that a training writes before its model is stored, and takes away again when that is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.actions.digests import sha256_of
from service.storage.artifacts import new_model_key
from service.storage.chunks import Chunk, delete_chunk
from service.storage.objects import ObjectStore
from workers.jobs.context import JobContext


@dataclass(slots=True)
class ModelFiles:
    """What was written for a model.

    Attributes:
        objects: where to.
        key: of the model itself.
        ahead: chunks of the pool's predictions, in no list yet.
        digests: what is in each file, by its key.
    """

    objects: ObjectStore
    key: str
    ahead: list[Chunk] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, data: bytes) -> None:
        """Write a file of the model."""
        self.digests[key] = sha256_of(data)
        self.objects.put_bytes(key, data)

    def keep(self, *, ahead: bool) -> None:
        """Leave the files of the model, and the chunks if they are listed.

        To be called before the commit, whose outcome may stay unknown: files that are named must not be deleted.
        """
        self.digests.clear()
        if ahead:
            self.ahead.clear()

    def remove(self) -> None:
        """Delete what is not kept."""
        for key in self.digests:
            self.objects.delete(key)
        for chunk in self.ahead:
            delete_chunk(self.objects, chunk)


@contextmanager
def model_files(context: JobContext) -> Iterator[ModelFiles]:
    """Files under a new key, which are gone afterwards unless they were kept."""
    files = ModelFiles(context.objects, new_model_key(context.project_id))
    try:
        yield files
    finally:
        files.remove()
