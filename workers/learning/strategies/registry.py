"""Strategies by their catalogue names. A new one is a class in its family's module and a line here."""

from collections.abc import Callable, Mapping

from workers.learning.strategies.base import Scorer, Selector
from workers.learning.strategies.diversity import KCenter, TypiClust
from workers.learning.strategies.uncertainty import Entropy, LeastConfident, Margin

SCORERS: Mapping[str, Callable[..., Scorer]] = {
    "entropy": Entropy,
    "least_confident": LeastConfident,
    "margin": Margin,
}

SELECTORS: Mapping[str, Callable[..., Selector]] = {
    "k_center": KCenter,
    "typiclust": TypiClust,
}

NAMES = frozenset({"auto", "random", *SCORERS, *SELECTORS})
