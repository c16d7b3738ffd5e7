from dataclasses import replace

import numpy as np
from sklearn.datasets import load_digits

from workers.learning.curve import area_under
from workers.learning.simulate import Simulation, full_score, simulate


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
    assert auto[0] == random[0]  # the same start
    assert area_under(auto) > area_under(random) + 0.02


def test_starts_from_nothing_and_ends_with_the_pool() -> None:
    loop = digits_loop(0)
    loop = replace(loop, X=loop.X[:70], y=loop.y[:70], budget=1_000)
    curve = simulate(loop)
    assert [labels for labels, _ in curve] == [20, 40, 60, 70]
    assert curve == simulate(loop)


def test_batches_end_at_multiples_and_steps_grow_past_the_budget() -> None:
    loop = replace(digits_loop(23), strategy="random", batch=20, budget=90, limit=150)
    curve = simulate(replace(loop, X=loop.X[:300], y=loop.y[:300]))
    assert [labels for labels, _ in curve] == [23, 40, 60, 80, 90, 110, 130, 150]


def test_one_class_is_named_always_until_there_is_another() -> None:
    loop = digits_loop(0)
    ones = np.flatnonzero(loop.y == 1)[:20]
    loop = replace(loop, start=ones, batch=20, budget=40, strategy="random")
    (first, score), (second, _) = simulate(loop)
    assert (first, second) == (20, 40)
    assert score == np.mean(loop.y_test == 1)


def test_macro_f1_does_not_reward_the_largest_class() -> None:
    loop = digits_loop(0)
    rare = replace(loop, y=(loop.y == 1).astype(np.int64), y_test=(loop.y_test == 1).astype(np.int64), classes=2)
    rare = replace(rare, start=np.flatnonzero(rare.y == 0)[:20], budget=20)
    assert simulate(rare)[0][1] > 0.85
    assert simulate(replace(rare, score="macro_f1"))[0][1] < 0.5


def test_all_labels_are_the_best() -> None:
    loop = digits_loop(20)
    assert full_score(loop) > simulate(loop)[-1][1]


def test_a_committee_strategy_gets_its_committee() -> None:
    loop = digits_loop(40)
    loop = replace(loop, X=loop.X[:200], y=loop.y[:200], budget=60, strategy="vote_entropy")
    assert [labels for labels, _ in simulate(loop)] == [40, 60]
