"""Agreement of annotators: the published examples, cases by hand, and what has no figure."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.learning.answers import answers_of, counted
from workers.learning.agreement import (
    agreement_of_each,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    krippendorff_alpha_interval,
    percent_agreement,
    vote_entropy,
)

# Krippendorff 2011: four observers, twelve units.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
UNITS = answers_of(
    [
        [None if said == "." else int(said) for said in unit]
        for unit in zip(*(line.split() for line in OBSERVERS), strict=True)
    ]
)

# Fleiss' kappa of 14 raters, ten subjects and five categories: .210.
SUBJECTS = [
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
]


def test_krippendorffs_own_example() -> None:
    assert krippendorff_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha_interval(UNITS, UNITS.codes.astype(np.float64)) == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_the_scale_of_numbers_does_not_matter(scale: float) -> None:
    values = UNITS.codes.astype(np.float64) * scale
    assert krippendorff_alpha_interval(UNITS, values) == pytest.approx(0.849, abs=5e-4)


def test_the_usual_example_of_fleiss_kappa() -> None:
    answers = counted(SUBJECTS)
    assert percent_agreement(answers) == pytest.approx(0.378, abs=5e-4)
    assert fleiss_kappa(answers) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_of_unlike_numbers_of_raters_by_hand() -> None:
    # Agreement (1 + 1/3 + 0) / 3, frequencies (1 + 2/3 + 1/2) / 3 = 13/18 and 5/18, chance 194/324.
    answers = counted([(2, 0), (2, 1), (1, 1), (0, 1)])  # the last has nobody to agree with
    assert percent_agreement(answers) == pytest.approx(4 / 9)
    chance = 194 / 324
    assert fleiss_kappa(answers) == pytest.approx((4 / 9 - chance) / (1 - chance))


def test_cohens_kappa_of_a_pair_by_hand() -> None:
    # Of 50 examples both say yes of 20 and no of 15: agreement .7, chance .5 * .6 + .5 * .4 = .5.
    answers = answers_of([*[(1, 1)] * 20, *[(1, 0)] * 5, *[(0, 1)] * 10, *[(0, 0)] * 15, (1, None)])
    assert percent_agreement(answers) == pytest.approx(0.7)
    assert cohen_kappa(answers) == pytest.approx(0.4)


def test_cohens_kappa_of_several_is_that_of_the_pairs_by_what_they_share() -> None:
    rng = np.random.default_rng(0)
    said = rng.integers(4, size=(60, 5))
    table = np.where(rng.random((60, 5)) < 0.3, -1, np.where(rng.random((60, 5)) < 0.5, said[:, :1], said))
    kappas, shared = [], []
    for one, other in zip(*np.triu_indices(5, 1), strict=True):
        both = (table[:, one] >= 0) & (table[:, other] >= 0)
        kappas.append(cohen_kappa_score(table[both, one], table[both, other]))
        shared.append(np.count_nonzero(both))
    answers = answers_of([[None if code < 0 else int(code) for code in row] for row in table])
    assert cohen_kappa(answers) == pytest.approx(np.average(kappas, weights=shared))


def test_each_annotator_against_the_others_by_hand() -> None:
    answers = answers_of([(0, 0, 1), (1, 1, None), (None, None, 1)])
    np.testing.assert_allclose(agreement_of_each(answers, 4), [2 / 3, 2 / 3, 0, np.nan])


def test_vote_entropy_by_hand() -> None:
    answers = counted([(3, 0, 0), (1, 1, 0), (2, 1, 0), (1, 1, 1), (0, 1, 0)])
    third = -(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3)
    np.testing.assert_allclose(vote_entropy(answers), [0, np.log(2), third, np.log(3), 0], atol=1e-12)


def test_perfect_agreement_is_one_and_none_at_all_is_not_beyond_chance() -> None:
    perfect = answers_of([(0, 0), (1, 1), (2, 2)])
    for figure in (percent_agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha):
        assert figure(perfect) == pytest.approx(1)
    never = answers_of([(0, 1), (1, 0), (0, 1), (1, 0)])
    assert percent_agreement(never) == 0
    for figure in (cohen_kappa, fleiss_kappa):
        assert figure(never) == pytest.approx(-1)


def test_what_is_not_defined_has_no_figure() -> None:
    for table in ([(0,), (1,)], [(0, None), (None, 1)], []):
        answers = answers_of(table)
        for figure in (percent_agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha):
            assert figure(answers) is None
        assert krippendorff_alpha_interval(answers, answers.codes.astype(np.float64)) is None
    one_class = answers_of([(0, 0), (0, 0), (1, None)])
    assert percent_agreement(one_class) == 1
    for figure in (cohen_kappa, fleiss_kappa, krippendorff_alpha):
        assert figure(one_class) is None
    assert krippendorff_alpha_interval(one_class, one_class.codes.astype(np.float64)) is None


def test_pairs_who_say_one_class_only_leave_the_mean_to_others() -> None:
    answers = answers_of([(0, 0, None), (0, 0, None), (None, 0, 0), (None, 1, 1)])
    assert cohen_kappa(answers) == pytest.approx(1)
