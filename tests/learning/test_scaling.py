import numpy as np
import pytest

from workers.learning.scaling import Scaling, learn_units


@pytest.mark.parametrize("scaling", ["columns", "shared"])
def test_mean_squared_length_is_one(scaling: Scaling) -> None:
    X = np.random.default_rng(0).normal([5, -2, 0], [1, 2, 3], size=(500, 3)).astype(np.float32)
    scaled = learn_units(X, scaling).apply(X)
    assert np.mean(np.sum(scaled**2, axis=1)) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)


def test_pixels_and_embeddings_share_a_unit_and_tables_do_not() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 17, size=(200, 64)) * (rng.random(64) < 0.8)
    pixels[:, 3] = rng.random(200) < 0.05  # a border pixel that is hardly ever on
    directions = rng.normal(size=(200, 50))
    embeddings = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    table = np.column_stack([rng.integers(20, 80, 200), rng.normal(250, 50, 200), rng.random((200, 3)) < 0.5])
    assert learn_units(pixels.astype(np.float32)).scaling == "shared"
    assert learn_units(embeddings.astype(np.float32)).scaling == "shared"
    assert learn_units(table.astype(np.float32)).scaling == "columns"


def test_constant_columns_are_only_centred() -> None:
    X = np.array([[1e6, 0, 1], [1e6, 0, 3]], dtype=np.float32)
    units = learn_units(X, "columns")
    np.testing.assert_allclose(units.apply(X), [[0, 0, -1], [0, 0, 1]])
    np.testing.assert_allclose(learn_units(X[:1]).apply(X[:1]), 0)
