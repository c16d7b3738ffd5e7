"""How much annotators agree.

Each figure is None where it is not defined: without examples that two or more answers were given to, and, but for the
percentage, where all of these say one class.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, triu

from workers.learning.answers import Answers, count_votes


def percent_agreement(answers: Answers) -> float | None:
    """The share of pairs of answers to one example that say the same, averaged over the examples that have a pair."""
    answers = answers.several()
    return float(_agreeing(answers).mean()) if answers.count else None


def agreement_of_each(answers: Answers, people: int) -> NDArray[np.float64]:
    """The share of others' answers to the same examples that say what this annotator says [people]; NaN without any."""
    votes = count_votes(answers)
    others = answers.given[answers.examples] - 1
    same = votes.counts[votes.entries] - 1
    asked = np.bincount(answers.annotators, weights=others, minlength=people)
    agreed = np.bincount(answers.annotators, weights=same, minlength=people)
    shares: NDArray[np.float64] = np.divide(agreed, asked, out=np.full(people, np.nan), where=asked > 0)
    return shares


def cohen_kappa(answers: Answers) -> float | None:
    """The kappa of each pair of annotators on what both answered, averaged with the number of such examples as weights.

    Cohen 1960, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological Measurement 20(1); a mean
    over pairs as in Light 1971, Psychological Bulletin 76(5). Pairs who both always say one class have none. An
    annotator answers an example once. O(sum over examples of squared answers).
    """
    answers = answers.several()
    if not answers.count:
        return None
    everything = _answered(answers)
    shared = triu(everything @ everything.T, 1).tocoo()
    agreed = chance = csr_array((everything.shape[0],) * 2, dtype=np.int64)
    for code in np.unique(answers.codes):
        said = _answered(answers, answers.codes == code)
        both = said @ everything.T  # how often the one says this class of what both answered
        agreed, chance = agreed + said @ said.T, chance + both.multiply(both.T)
    n = shared.data
    same, expected = (np.asarray(table.tocsr()[shared.coords]) for table in (agreed, chance))
    room = n**2 - expected
    defined = room > 0
    if not defined.any():
        return None
    kappas = (n * same - expected)[defined] / room[defined]
    return float(np.average(kappas, weights=n[defined]))


def _answered(answers: Answers, which: NDArray[np.bool_] | slice = slice(None)) -> csr_array:
    """Who answered what [annotators, examples]: 1 or nothing."""
    shape = (int(answers.annotators.max()) + 1, answers.count)
    cells = (answers.annotators[which], answers.examples[which])
    return csr_array((np.ones(cells[0].size, dtype=np.int64), cells), shape=shape)


def fleiss_kappa(answers: Answers) -> float | None:
    """Agreement beyond chance of any number of annotators, who need not be the same for each example.

    Fleiss 1971, "Measuring Nominal Scale Agreement among Many Raters", Psychological Bulletin 76(5). Examples may have
    different numbers of answers: each counts once, in the agreement and in the frequency of classes (Gwet 2014,
    "Handbook of Inter-Rater Reliability", 4th edition).
    """
    answers = answers.several()
    votes = count_votes(answers)
    if np.unique(votes.codes).size <= 1:
        return None
    shares = votes.counts / answers.given[votes.examples]
    frequencies = np.bincount(votes.codes, weights=shares) / answers.count
    chance = float(np.sum(frequencies**2))
    return (float(_agreeing(answers).mean()) - chance) / (1 - chance)


def krippendorff_alpha(answers: Answers) -> float | None:
    """Agreement beyond chance with answers missing anywhere, for classes.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", with the nominal metric.
    """
    answers = answers.several()
    votes = count_votes(answers)
    if np.unique(votes.codes).size <= 1:
        return None
    n = answers.codes.size
    matching = np.sum(votes.counts * (votes.counts - 1) / (answers.given[votes.examples] - 1))
    totals = np.bincount(answers.codes)
    chance = np.sum(totals * (totals - 1.0)) / (n - 1)
    return float(1 - (n - matching) / (n - chance))


def krippendorff_alpha_interval(answers: Answers, values: NDArray[np.float64]) -> float | None:
    """The same for numbers, with the interval metric: `values` [m] are the answers, and codes are not looked at."""
    kept = (answers.given > 1)[answers.examples]
    values, answers = values[kept], answers.several()
    if values.size == 0 or np.ptp(values) == 0:
        return None
    values, given = values / np.abs(values).max(), answers.given  # the scale does not matter, and squares overflow
    means = np.bincount(answers.examples, weights=values) / given
    within = np.bincount(answers.examples, weights=(values - means[answers.examples]) ** 2)
    observed = 2 * np.sum(within * given / (given - 1)) / values.size
    expected = 2 * np.sum((values - values.mean()) ** 2) / (values.size - 1)
    return float(1 - observed / expected)


def vote_entropy(answers: Answers) -> NDArray[np.float64]:
    """How evenly the answers to each example are spread over classes, in nats [count]; 0 where all say the same.

    Dagan and Engelson 1995, doi 10.1016/B978-1-55860-377-6.50027-X, with annotators as the committee.
    """
    votes = count_votes(answers)
    shares = votes.counts / answers.given[votes.examples]
    return np.bincount(votes.examples, -shares * np.log(shares), answers.count).astype(np.float64)


def _agreeing(answers: Answers) -> NDArray[np.float64]:
    """The share of pairs of answers that say the same, of examples which all have a pair [count]."""
    votes = count_votes(answers)
    pairs = np.bincount(votes.examples, weights=votes.counts * (votes.counts - 1), minlength=answers.count)
    return pairs / (answers.given * (answers.given - 1))
