"""The class that a model learns for an example, out of all its answers."""

import pytest

from workers.jobs.labels import consensus

TASK = {"type": "classification", "classes": ["a", "b", "c"]}
SEVERAL = {**TASK, "multi_label": True}


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (["b"], 1),
        (["b", "a", "b"], 1),
        (["a", "b"], 1),  # a tie: the newer answer has often been asked for to correct the older
        (["b", "a"], 0),
        (["c", "a", "b", "a", "b"], 1),
        (["a", "b", "b", "a"], 0),
    ],
)
def test_the_majority_wins_and_on_a_tie_the_newer_answer(answers: list[str], code: int) -> None:
    found = consensus([("e1", 7, "pool", answer) for answer in answers], TASK)
    assert found.rows.tolist() == [7]
    assert found.y.tolist() == [code]


def test_the_digest_tells_the_classes_of_the_examples() -> None:
    one = consensus([("e1", 7, "pool", "a"), ("e2", 9, "test", "b")], TASK)
    same = consensus([("e1", 3, "pool", "b"), ("e1", 3, "pool", "a"), ("e2", 4, "test", "b")], TASK)
    other = consensus([("e1", 7, "pool", "b"), ("e2", 9, "test", "b")], TASK)
    assert one.digest == same.digest != other.digest
    assert one.test.tolist() == [False, True]


@pytest.mark.parametrize(
    ("answers", "row"),
    [
        (["[]"], [0, 0, 0]),
        (['["a","c"]'], [1, 0, 1]),
        (['["a"]', '["a","b"]', '["c"]'], [1, 0, 0]),
        (['["a"]', '["b"]'], [0, 1, 0]),  # ties, decided by the newer answer
        (['["a","b"]', '["a"]'], [1, 0, 0]),
    ],
)
def test_of_several_classes_each_is_decided_by_itself(answers: list[str], row: list[int]) -> None:
    found = consensus([("e1", 7, "pool", answer) for answer in answers], SEVERAL)
    assert found.y.tolist() == [row]


def test_of_numbers_the_median_counts() -> None:
    answers = [("e1", 7, "pool", "1.5"), ("e2", 8, "pool", "1.0"), ("e2", 8, "pool", "100.0"), ("e2", 8, "pool", "3.0")]
    assert consensus(answers, {"type": "regression"}).y.tolist() == [1.5, 3.0]
