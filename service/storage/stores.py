"""The object store that the settings name."""

from service.settings import Settings
from service.storage.local import LocalObjects
from service.storage.objects import ObjectStore


def open_objects(settings: Settings) -> ObjectStore:
    """Open it; nothing is asked of it yet."""
    if not settings.objects_url:
        return LocalObjects(settings.objects_dir)
    from service.storage.s3 import S3Objects  # noqa: PLC0415 - its package is optional, and slow to import

    return S3Objects(settings)
