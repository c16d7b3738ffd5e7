from service.storage.objects import ObjectStore


def model_key(project_id: str, version: int) -> str:
    """The key of a model's file."""
    return f"{models_prefix(project_id)}{version}.skops"


def models_prefix(project_id: str) -> str:
    """The prefix of every model of a project."""
    return f"models/{project_id}/"


def put_model(objects: ObjectStore, project_id: str, version: int, *, data: bytes) -> str:
    """Store a model's file; returns its key."""
    key = model_key(project_id, version)
    objects.put_bytes(key, data)
    return key


def get_model(objects: ObjectStore, project_id: str, version: int) -> bytes:
    """The file of a model.

    Raises:
        ObjectNotFoundError: There is none.
    """
    return objects.get(model_key(project_id, version))
