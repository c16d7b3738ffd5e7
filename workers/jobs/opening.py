"""Opens what trainings have stored."""

from collections.abc import Callable
from typing import TypeVar

from service.actions import digests
from service.errors import DamagedObjectError
from workers.jobs.context import JobContext
from workers.learning.estimators.files import ModelFileError

Opened = TypeVar("Opened")


def open_object(context: JobContext, key: str, load: Callable[[bytes], Opened]) -> Opened:
    """What `load` makes of the bytes of an object.

    Raises:
        DamagedObjectError: they are not those that were written, or not what its `dump` makes.
        ObjectNotFoundError: it is not there.
    """
    data = context.objects.get(key)
    with context.read() as session:
        digest = digests.recorded(session, key)
    digests.check(key, digest, data)
    try:
        return load(data)
    except ModelFileError as error:
        raise DamagedObjectError(key, str(error)) from error
