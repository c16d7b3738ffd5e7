from importlib import resources

import numpy as np
import pytest

from workers.learning.datasets import NAMES, load


@pytest.mark.parametrize("name", NAMES)
def test_a_third_is_kept_aside_with_the_shares_of_every_class(name: str) -> None:
    dataset = load(name, np.random.default_rng(0))
    assert len(dataset.inputs) == dataset.y.size == dataset.test.size
    assert dataset.test.mean() == pytest.approx(1 / 3, abs=1e-3)
    counts, tested = (
        np.bincount(codes, minlength=len(dataset.classes)) for codes in (dataset.y, dataset.y[dataset.test])
    )
    assert np.abs(tested - counts / 3).max() <= 1


def test_another_generator_keeps_others_aside() -> None:
    first, same, other = (load("digits", np.random.default_rng(seed)).test for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()


def test_the_digits_are_as_scikit_learn_ships_them() -> None:
    digits = load("digits", np.random.default_rng(0))
    assert isinstance(digits.inputs, np.ndarray)
    assert digits.inputs.shape == (1797, 64)
    assert digits.classes == list("0123456789")
    assert digits.y[:5].tolist() == [0, 1, 2, 3, 4]


def test_the_messages_are_distinct_and_attributed() -> None:
    messages = load("text", np.random.default_rng(0))
    assert isinstance(messages.inputs, list)
    assert len(set(messages.inputs)) == 2500
    assert all(text == " ".join(text.split()) != "" for text in messages.inputs)
    assert np.bincount(messages.y).tolist() == [2189, 311]
    assert messages.classes == ["ham", "spam"]
    folder = resources.files("workers.learning") / "data"
    assert len((folder / "sms_spam.csv.gz").read_bytes()) < 150_000
    assert "CC BY 4.0" in (folder / "README.md").read_text()
