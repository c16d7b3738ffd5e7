"""Where the files of models and of predictions' inputs lie."""

import hashlib
import secrets
from collections.abc import Sequence

import orjson


def models_prefix(project_id: str) -> str:
    """The prefix of every model of a project."""
    return f"models/{project_id}/"


def new_model_key(project_id: str) -> str:
    """A key for a model's file; no two are the same, so that a repeated training never touches another's file."""
    return f"{models_prefix(project_id)}{secrets.token_hex(12)}.skops"


def committee_key(model_key: str) -> str:
    """The key of the committee that was trained beside a model."""
    return f"{model_key}.committee"


def onnx_key(model_key: str, classes: Sequence[str]) -> str:
    """The key of a model in ONNX, made when somebody wants it; its file holds the names of the classes."""
    names = hashlib.blake2b(orjson.dumps(list(classes)), digest_size=8).hexdigest()
    return f"{model_key}.{names}.onnx"


FITTED_FEATURES = "features:tabular-"
"""How the names of arrays begin whose features were fitted to the pool."""


def is_fitted(array: str) -> bool:
    """Whether something was fitted to make the array, which is kept beside it."""
    return array.startswith(FITTED_FEATURES)


def encoder_key(project_id: str, array: str) -> str:
    """The key of what was fitted to make an array of features."""
    return f"{models_prefix(project_id)}{array.replace(':', '-')}.encoder"


def model_encoder_key(model_key: str) -> str:
    """The key of what made the features that a model was trained on, when it was fitted to the pool."""
    return f"{model_key}.encoder"


def inputs_prefix(project_id: str) -> str:
    """The prefix of examples that wait to be predicted."""
    return f"inputs/{project_id}/"


def new_inputs_key(project_id: str) -> str:
    """A key for examples that wait to be predicted."""
    return f"{inputs_prefix(project_id)}{secrets.token_hex(12)}.json"
