from dataclasses import replace

import numpy as np
from sklearn.datasets import load_digits

from workers.learning.curve import area_under
from workers.learning.simulate import Simulation, simulate


def digits_loop(start: int) -> Simulation:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(y.size)
    X, y = X[order].astype(np.float32), y[order]
    return Simulation(
        X=X[450:],
        y=y[450:],
        X_test=X[:450],
        y_test=y[:450],
        classes=10,
        start=np.arange(start),
        batch=20,
        budget=150,
        seed=1,
    )


def test_auto_beats_random_on_digits() -> None:
    loop = digits_loop(20)
    auto, random = simulate(loop), simulate(replace(loop, strategy="random"))
    assert [labels for labels, _ in auto] == [20, 40, 60, 80, 100, 120, 140, 150]
    assert auto[0] == random[0]
    assert area_under(auto) > area_under(random) + 0.02


def test_starts_from_nothing_and_ends_with_the_pool() -> None:
    loop = digits_loop(0)
    loop = replace(loop, X=loop.X[:70], y=loop.y[:70], budget=1_000)
    curve = simulate(loop)
    assert [labels for labels, _ in curve] == [20, 40, 60, 70]
    assert curve == simulate(loop)
