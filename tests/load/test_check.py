from tests.load.play import check

A, B = ("e1", "anna"), ("e2", "anna")


def test_what_was_acknowledged_is_there_once_with_its_last_value() -> None:
    assert check({A: "1", B: "2"}, {}, [(*A, "1"), (*B, "2")]) == (0, 0, 0)


def test_a_lost_a_doubled_and_an_unasked_label_are_seen() -> None:
    assert check({A: "1", B: "2"}, {}, [(*A, "1")]) == (1, 0, 0)
    assert check({A: "1"}, {}, [(*A, "1"), (*A, "1")]) == (0, 1, 0)
    assert check({A: "1"}, {}, [(*A, "1"), (*B, "2")]) == (0, 0, 1)
    assert check({A: "1"}, {}, [(*A, "0")]) == (0, 0, 1), "an older value"


def test_what_was_sent_and_not_acknowledged_may_be_there() -> None:
    assert check({A: "1"}, {A: {"2"}, B: {"3"}}, [(*A, "2")]) == (0, 0, 0)
    assert check({A: "1"}, {B: {"3"}}, [(*A, "1"), (*B, "3")]) == (0, 0, 0)
