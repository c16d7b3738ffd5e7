"""The class that a model learns for an example, out of all its answers."""

import pytest

from workers.jobs.labels import consensus


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
    found = consensus([("e1", 7, "pool", answer) for answer in answers], ["a", "b", "c"])
    assert found.rows.tolist() == [7]
    assert found.codes.tolist() == [code]


def test_the_digest_tells_the_classes_of_the_examples() -> None:
    one = consensus([("e1", 7, "pool", "a"), ("e2", 9, "test", "b")], ["a", "b"])
    same = consensus([("e1", 3, "pool", "b"), ("e1", 3, "pool", "a"), ("e2", 4, "test", "b")], ["a", "b"])
    other = consensus([("e1", 7, "pool", "b"), ("e2", 9, "test", "b")], ["a", "b"])
    assert one.digest == same.digest != other.digest
    assert one.test.tolist() == [False, True]
