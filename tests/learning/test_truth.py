"""The truth of several answers: the paper's example, a plain implementation, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.learning.answers import answers_of
from workers.learning.answers import Answers
from workers.learning.truth import TRUTHS, dawid_skene, estimate, majority

# Dawid and Skene 1979, table 1: five anaesthetists on the fitness of 45 patients; the first one judged three times.
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212
1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111
1111111 1121121 1111111 3333233 1112111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111
2322222 1211111 2222222
"""
OBSERVERS = [0, 0, 0, 1, 2, 3, 4]


def anaesthetists() -> Answers:
    table = [[int(said) - 1 for said in patient] for patient in PATIENTS.split()]
    answers = answers_of(table)
    return replace(answers, annotators=np.array(OBSERVERS)[answers.annotators])


def crowd(seed: int, *, examples: int = 80, people: int = 9, classes: int = 4) -> tuple[Answers, NDArray[np.int64]]:
    """Answers of people who are right as often as each of them is, one to six to an example; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=examples)
    skill = rng.uniform(0.2, 0.95, size=people)
    table = []
    for y in truth:
        asked = rng.choice(people, size=rng.integers(1, 7), replace=False)
        said = {a: int(y) if rng.random() < skill[a] else int(rng.integers(classes)) for a in asked}
        table.append([said.get(a) for a in range(people)])
    return answers_of(table), truth


def plain(answers: Answers, classes: int, rounds: int) -> NDArray[np.float64]:
    """Expectation maximisation by loops over dense matrices [examples, classes]."""
    said = [
        [
            (a, k)
            for e, a, k in zip(
                answers.examples.tolist(), answers.annotators.tolist(), answers.codes.tolist(), strict=True
            )
            if e == i
        ]
        for i in range(answers.count)
    ]
    people = int(answers.annotators.max()) + 1
    P = np.zeros((answers.count, classes))
    for i, given in enumerate(said):
        for _, k in given:
            P[i, k] += 1 / len(given)
    possible = P > 0
    compared = np.array([len(given) > 1 for given in said])
    for _ in range(rounds):
        counts = np.zeros((people, classes, classes))
        for i in np.flatnonzero(compared).tolist():
            for a, k in said[i]:
                counts[a, :, k] += P[i]
        pairs = counts.sum(axis=0)
        seen = np.zeros((classes, classes), dtype=bool)
        for i in np.flatnonzero(compared).tolist():
            for _, k in said[i]:
                seen[possible[i], k] = True
        pairs = np.where(seen, pairs + 0.01, 0)
        average = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-300)
        confusion = (counts + 0.3 * average) / (counts.sum(axis=2, keepdims=True) + 0.3)
        priors = P[compared].sum(axis=0) + 0.01
        priors /= priors.sum()
        for i, given in enumerate(said):
            odds = priors * possible[i]
            for a, k in given if compared[i] else []:
                odds = odds * confusion[a, :, k]
            P[i] = odds / odds.sum()
    return P


def test_the_papers_example() -> None:
    found = estimate(anaesthetists())
    # Table 2 of the paper: .40, .42, .11 and .07 of the patients are in each class.
    np.testing.assert_allclose(found.priors, [0.40, 0.42, 0.11, 0.07], atol=0.012)
    codes = dawid_skene(anaesthetists())
    assert codes[[0, 1, 2, 10, 35]].tolist() == [0, 3, 1, 3, 3]
    told = found.confusions
    first = {
        (int(j), int(k)): float(share)
        for a, j, k, share in zip(told.annotators, told.truths, told.said, told.shares, strict=True)
        if a == 0
    }
    # Its table 3: the first observer says 1 of .89 of the patients in class 1, and 2 of .11.
    assert first[0, 0] == pytest.approx(0.89, abs=0.02)
    assert first[0, 1] == pytest.approx(0.11, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_posteriors_are_those_of_a_plain_implementation(seed: int) -> None:
    answers, _ = crowd(seed)
    found = estimate(answers)
    P = plain(answers, 4, found.rounds)
    np.testing.assert_allclose(found.posteriors, P[found.votes.examples, found.votes.codes], atol=1e-9)
    np.testing.assert_allclose(np.add.reduceat(found.posteriors, found.votes.starts), 1)


def test_a_few_good_annotators_outvote_many_bad_ones() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=120)
    table = [
        [int(y)] * 3 + [int(not y) if rng.random() < 0.6 else int(y) for _ in range(4)] for y in truth
    ]  # the four are wrong more often than not
    answers = answers_of(table)
    assert np.mean(dawid_skene(answers) == truth) == 1
    assert np.mean(majority(answers) == truth) < 0.95


def test_the_order_of_answers_and_the_numbers_of_annotators_do_not_matter() -> None:
    answers, _ = crowd(5)
    rng = np.random.default_rng(0)
    mixed = rng.permutation(answers.examples.size)
    mixed = mixed[np.argsort(answers.examples[mixed], kind="stable")]
    shuffled = replace(answers, annotators=answers.annotators[mixed], codes=answers.codes[mixed])
    np.testing.assert_array_equal(estimate(shuffled).posteriors, estimate(answers).posteriors)
    renamed = replace(answers, annotators=rng.permutation(9)[answers.annotators])
    np.testing.assert_allclose(estimate(renamed).posteriors, estimate(answers).posteriors, atol=1e-9)


@pytest.mark.parametrize("name", TRUTHS)
def test_one_answer_stands_and_a_tie_goes_to_the_newer(name: str) -> None:
    answers = answers_of([(2, None), (0, 1), (1, 0), (None, 1), (0, 0), (1, 1)])
    assert TRUTHS[name](answers).tolist() == [2, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("name", TRUTHS)
def test_nothing_gives_nothing(name: str) -> None:
    assert TRUTHS[name](answers_of([])).size == 0


def test_many_classes_and_unanimous_examples() -> None:
    answers = answers_of([(9_999, 9_999), (3, 3), (9_999, 3), (5, None)])
    found = estimate(answers)
    assert dawid_skene(answers).tolist()[:2] == [9_999, 3]
    assert np.isfinite(found.posteriors).all()
