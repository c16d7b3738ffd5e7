"""Texts as embeddings, with the real library and the weights that a package carries."""

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model2vec import StaticModel
from numpy.typing import NDArray

from tests.support.embeddings import write_model
from workers.learning.featurizers.embedding import EmbeddingModelError, EmbeddingModelReplacedError, embedding

PARAMS = {"max_tokens": 512}


def rows(*texts: str, folder: str = "", **params: int) -> NDArray[np.float32]:
    made: Any = embedding(folder).featurize(texts, {**PARAMS, **params})
    assert made.dtype == np.float32
    assert isinstance(made, np.ndarray)
    return made


def test_texts_of_one_meaning_are_near_without_a_word_in_common() -> None:
    made = rows("my parcel never arrived", "the package was not delivered", "a wonderful concert in the park")
    likeness = made @ made.T
    assert likeness[0, 1] > 1.5 * likeness[0, 2]
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert embedding("").columns(PARAMS) == made.shape[1] == 256


def test_a_text_has_the_same_row_whatever_comes_with_it() -> None:
    texts = ["a", "", "two words", "a long text " * 200, *(f"text number {n}" for n in range(70))]
    together = rows(*texts)
    for place in (0, 1, 2, 3, 50):
        np.testing.assert_array_equal(rows(texts[place])[0], together[place])
    assert not together[1].any()
    assert rows().shape == (0, 256)


def test_means_of_a_model_in_a_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    made = rows("up left", "up down", "up up left", "unheard of", "down", folder=folder)
    expected = [[0.5**0.5, 0.5**0.5, 0], [0, 0, 0], [0.8**0.5, 0.2**0.5, 0], [0, 0, 0], [-1, 0, 0]]
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_only_the_first_tokens_count(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    np.testing.assert_allclose(rows("up " * 8 + "left " * 50, folder=folder, max_tokens=8), [[1, 0, 0]])


def test_the_fingerprint_is_of_what_is_in_the_files(tmp_path: Path) -> None:
    one, same = write_model(tmp_path / "one"), write_model(tmp_path / "same")
    other = write_model(tmp_path / "other", scale=2.0)
    assert embedding(one).state() == embedding(same).state()
    assert len({embedding(folder).state() for folder in (one, other, "")}) == 3


def test_a_model_that_was_replaced_is_read_anew_and_never_mixed_with_the_one_before(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    before = embedding(folder)
    known, unread = before.state(), embedding(folder)
    assert unread.state() == known
    shutil.rmtree(folder)
    write_model(tmp_path / "model", scale=-2.0)
    with pytest.raises(EmbeddingModelReplacedError):
        unread.featurize(["up"], PARAMS)
    assert embedding(folder).state() != known
    np.testing.assert_allclose(rows("left", folder=folder), [[0, -1, 0]])


def test_a_model_that_vanishes_while_it_is_used_is_one_that_is_replaced(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    unhashed, known = embedding(folder), embedding(folder)
    assert unhashed.columns(PARAMS) == known.columns(PARAMS) == 3
    shutil.rmtree(folder)
    with pytest.raises(EmbeddingModelReplacedError):
        unhashed.state()
    np.testing.assert_allclose(known.featurize(["left"], PARAMS), [[0, 1, 0]])


FAULTS = pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError("It is gone."), EmbeddingModelReplacedError),
        (MemoryError("No more."), MemoryError),
        (OSError(errno.ENOMEM, "No more."), OSError),
    ],
)


@FAULTS
def test_a_fault_while_a_model_is_hashed_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: type[Exception]
) -> None:
    folder = write_model(tmp_path / "model")

    def vanish(*_: object) -> None:
        shutil.rmtree(folder)
        raise fault

    monkeypatch.setattr(hashlib, "file_digest", vanish)
    with pytest.raises(told):
        embedding(folder).state()


def test_a_model_that_is_replaced_while_it_is_hashed_has_no_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hashed = write_model(tmp_path / "model"), hashlib.file_digest

    def replace(file: Any, name: str) -> Any:
        done = hashed(file, name)
        shutil.rmtree(folder)
        write_model(tmp_path / "model", scale=-2.0)
        return done

    monkeypatch.setattr(hashlib, "file_digest", replace)
    with pytest.raises(EmbeddingModelReplacedError):
        embedding(folder).state()


@FAULTS
def test_a_fault_while_a_model_is_read_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: type[Exception]
) -> None:
    folder = write_model(tmp_path / "model")

    def vanish(_: str) -> StaticModel:
        shutil.rmtree(folder)
        raise fault

    monkeypatch.setattr(StaticModel, "from_pretrained", vanish)
    with pytest.raises(told):
        rows("up", folder=folder)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    empty, damaged = str(tmp_path / "empty"), write_model(tmp_path / "damaged")
    with pytest.raises(EmbeddingModelError, match="holds no model"):
        embedding(empty).state()
    (Path(damaged) / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(EmbeddingModelError, match="cannot be read"):
        rows("up", folder=damaged)
