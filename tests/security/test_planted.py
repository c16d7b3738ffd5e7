"""What somebody planted in the object store is never run."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import skops.io

from workers.learning.estimators.committee import Committee
from workers.learning.estimators.files import ModelFileError
from workers.learning.estimators.model import TrainedModel


def archive(node: Mapping[str, object], **files: bytes) -> bytes:
    """A file in the form of skops, with this as its object."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("schema.json", json.dumps({**node, "protocol": 2, "_skops_version": skops.__version__}))
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def packed_badly(method: int) -> bytes:
    """A file whose one member is packed by a method and then damaged; it is no bomb."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        packed.writestr("schema.json", os.urandom(200))
    data = bytearray(out.getvalue())
    data[80:120] = bytes(40)
    return bytes(data)


def planted(target: Path) -> dict[str, bytes]:
    """Files that would make a folder if they were run."""
    bomb = f"cposix\nsystem\n(S'mkdir {target}'\ntR.".encode()
    call = {"__class__": "mkdir", "__module__": os.__name__, "__loader__": "FunctionNode", "content": {}}
    reduce = {"__class__": "system", "__module__": "posix", "__loader__": "ReduceNode", "content": {}}
    array = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy"}
    return {
        "pickle": bomb,
        "zip of a pickle": archive({}, **{"data.pkl": bomb}),
        "function": archive(call),
        "reduce": archive(reduce),
        "pickled array": archive({**array, "file": "a.npy"}, **{"a.npy": b"\x93NUMPY\x01\x00" + bomb}),
        "empty": b"",
        "no zip": b"PK\x03\x04junk",
        "bzip2": packed_badly(zipfile.ZIP_BZIP2),
        "lzma": packed_badly(zipfile.ZIP_LZMA),
        "deflate": packed_badly(zipfile.ZIP_DEFLATED),
    }


@pytest.mark.parametrize("kind", list(planted(Path("x"))))
def test_a_planted_model_is_never_run(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "made"
    data = planted(target)[kind]
    for load in (TrainedModel.load, Committee.load):
        with pytest.raises(ModelFileError):
            load(data, class_count=2)
    assert not target.exists()
