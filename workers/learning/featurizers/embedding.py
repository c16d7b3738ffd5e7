"""Text as means of the vectors of its tokens, by a model that was made elsewhere. Needs the extra `embedding`.

Such a model is a table of vectors and a tokenizer, distilled from a sentence transformer (Tulkens and van Dongen 2024,
Model2Vec) or taken from a language model (WordLlama): thousands of texts a second on one core.
"""

import errno
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.featurizers.base import Featurizer

# Of a folder that model2vec or sentence-transformers has written.
_FILES = ("*.safetensors", "*.json", "0_StaticEmbedding/*")
_PACKAGE = "wordllama"
_TOKENIZER = "wordllama/tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "wordllama/weights/l2_supercat_256.safetensors"
_TEXTS_AT_ONCE = 32  # x 4,096 tokens x 256 numbers are 134 MB
_encoding = threading.Lock()  # a tokenizer is set to its most tokens at each call, which must not happen while it works


class EmbeddingModelError(Exception):
    """The model cannot be read."""


class EmbeddingModelReplacedError(Exception):
    """The model is another one than a moment ago: whoever begins again meets that one only."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The files of a model at one time: the inode and the time of its change tell when others are in their place."""

    folder: str
    files: tuple[tuple[Path, int, int], ...]

    @classmethod
    def of(cls, folder: str) -> Self:
        """As they are now.

        Raises:
            EmbeddingModelError: there is no model.
        """
        found = [(path, path.stat()) for path in _files(folder)]
        return cls(folder, tuple((path, told.st_ino, told.st_ctime_ns) for path, told in found))

    def check(self) -> None:
        """Find the files still there.

        Raises:
            EmbeddingModelReplacedError: they were replaced.
        """
        try:
            if _Source.of(self.folder) == self:
                return
        except (EmbeddingModelError, OSError):
            pass  # others are about to be in their place
        raise EmbeddingModelReplacedError(f"The model in {self.folder or _PACKAGE} was replaced while it was read.")


def embedding(folder: str) -> Featurizer:
    """The featurizer by the model in a folder, in the form of model2vec; empty: by the one that wordllama carries.

    Its fingerprint and all of its vectors are of the files that are there when it is first used.
    """
    source = cache(partial(_Source.of, folder))
    return Featurizer(
        lambda texts, params: _featurize(_model(source()), texts, params),
        columns=lambda _: int(_model(source()).dim),
        counts=False,
        state=lambda: _fingerprint(source()),
    )


@cache
def _fingerprint(source: _Source) -> str:
    """Of everything that a vector depends on beside the text and the parameters."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        for path, _, _ in source.files:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    except OSError as error:
        if not _lacks_memory(error):
            source.check()
        raise
    source.check()
    return digest.hexdigest()


def _lacks_memory(error: Exception) -> bool:
    """Whether Python or the kernel had no memory left, which tells nothing of the file that was read."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _files(folder: str) -> list[Path]:
    """The files of a model, by name."""
    package = metadata.distribution(_PACKAGE)
    carried = [Path(str(package.locate_file(name))) for name in (_TOKENIZER, _WEIGHTS)]  # its code is not run
    found = [path for pattern in _FILES for path in Path(folder).glob(pattern)] if folder else carried
    if not any(path.suffix == ".safetensors" for path in found if path.is_file()):
        raise EmbeddingModelError(f"{folder or _PACKAGE} holds no model in the form of model2vec.")
    return sorted(path for path in found if path.is_file())


def _featurize(model: Any, texts: Iterable[str], params: Mapping[str, Any]) -> NDArray[np.float32]:
    """Vectors of length 1 [texts, columns]; zeros for a text without a known token."""
    given = list(texts)
    if not given:
        return np.empty((0, model.dim), dtype=np.float32)
    with _encoding:
        made = model.encode(
            given,
            max_length=params["max_tokens"],
            normalize=True,
            batch_size=_TEXTS_AT_ONCE,
            use_multiprocessing=False,
        )
    told = np.array([bool(text) for text in given], dtype=np.float32)
    rows: NDArray[np.float32] = np.asarray(made, dtype=np.float32) * told[:, np.newaxis]
    return rows


@cache
def _model(source: _Source) -> Any:
    """The model itself, which a process reads once."""
    from model2vec import StaticModel  # noqa: PLC0415 - its package is optional

    folder, files = source.folder, [path for path, _, _ in source.files]
    try:
        model = StaticModel.from_pretrained(folder) if folder else StaticModel(*_carried(*files))
    except Exception as error:  # whatever its libraries raise: the files are the operator's
        if _lacks_memory(error):
            raise
        source.check()
        raise EmbeddingModelError(f"{folder or _PACKAGE} cannot be read: {type(error).__name__}: {error}") from error
    source.check()
    model.embedding = np.asarray(model.embedding, dtype=np.float32)  # means of narrower numbers would lose digits
    return model


def _carried(tokenizer: Path, weights: Path) -> tuple[NDArray[Any], Any]:
    from safetensors.numpy import load_file  # noqa: PLC0415 - a package of the extra, too
    from tokenizers import Tokenizer  # noqa: PLC0415 - as well

    return load_file(weights)["embedding.weight"], Tokenizer.from_file(str(tokenizer))
