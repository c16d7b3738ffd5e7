from pathlib import Path

import pytest

from service.settings import Settings
from service.storage.memory import MemoryObjects
from service.storage.objects import ObjectStore
from service.storage.stores import open_objects


@pytest.fixture(params=["local", "memory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryObjects()
    named = request.getfixturevalue("s3").settings() if request.param == "s3" else {}
    return open_objects(Settings(data_dir=tmp_path, **named))
