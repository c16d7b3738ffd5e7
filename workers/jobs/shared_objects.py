"""The object store of jobs whose work goes to other machines."""

from functools import cache
from typing import Any, cast

from service.settings import Settings
from service.storage.objects import ObjectStore
from service.storage.stores import open_objects
from workers.learning.parallel import ClusterError


def shared(objects: ObjectStore, settings: Settings) -> ObjectStore:
    """The store, so that what holds it can be sent to the engine that the settings name."""
    return cast("ObjectStore", _Shared(objects, settings.objects_url)) if settings.parallel == "dask" else objects


class _Shared:
    """A store that, once it is sent to another machine, is the one that the settings there name: no secret is sent."""

    def __init__(self, objects: ObjectStore, url: str) -> None:
        self._objects = objects
        self._url = url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_here, (self._url,)


@cache
def _opened_here(url: str) -> _Shared:
    """The store of this machine.

    Raises:
        ClusterError: it is another one.
    """
    settings = Settings()
    if settings.objects_url != url:
        raise ClusterError("GLEANER_OBJECTS_URL of a Dask worker names another object store")
    if not url and not settings.objects_dir.is_dir():
        raise ClusterError("GLEANER_DATA_DIR of a Dask worker names a folder without objects")
    return _Shared(open_objects(settings), url)
