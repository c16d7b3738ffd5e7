"""The part of PromQL that the alerts use, over real scrapes.

Selectors, `rate` of a range, `sum`/`min`/`max` with `by`, `histogram_quantile`, `absent`, division, comparison with a
number.
`rate` is the increase of a series between its first and its last scrape of the range over the time between them:
Prometheus also extrapolates to the ends of the range, and looks for resets. A series needs two scrapes to have a rate.
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = Mapping[Labels, float]

_TOKEN = re.compile(r'\s*(?:"([^"]*)"|([a-zA-Z_:][\w:]*)|(\d+(?:\.\d+)?[smh]?)|(==|!=|=~|[<>=/(){}\[\],]))')
_COMPARE: dict[str, Callable[[float, float], bool]] = {"==": operator.eq, ">": operator.gt, "<": operator.lt}
_MATCH: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "=~": lambda value, pattern: re.fullmatch(pattern, value) is not None,
}
_FOLD: dict[str, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass
class Scrapes:
    """What was scraped, and when in seconds; the last one is the present."""

    taken: list[tuple[float, dict[str, dict[Labels, float]]]] = field(default_factory=list)

    def add(self, text: str, at: float) -> None:
        found: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name][frozenset(sample.labels.items())] = sample.value
        self.taken.append((at, found))

    def evaluate(self, expression: str) -> Vector:
        """The series that the expression gives now; of a comparison those for which it holds."""
        parser = _Parser(self, expression)
        found = parser.comparison()
        assert not parser.tokens, f"{expression} goes on with {parser.tokens}"
        return found


class _Parser:
    def __init__(self, scrapes: Scrapes, expression: str) -> None:
        self.scrapes = scrapes
        self.tokens = []
        place = 0
        for found in _TOKEN.finditer(expression.rstrip()):
            assert found.start() == place, f"{expression[place:]} cannot be read"
            place = found.end()
            self.tokens.append(found[0].strip())
        assert place == len(expression.rstrip()), expression[place:]

    def take(self, wanted: str | None = None) -> str:
        token = self.tokens.pop(0)
        assert wanted in {None, token}, f"{token} instead of {wanted}"
        return token

    def comes(self, token: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == token

    def comparison(self) -> Vector:
        found = self.quotient()
        if self.tokens and self.tokens[0] in _COMPARE:
            holds, bound = _COMPARE[self.take()], float(self.take())
            return {labels: value for labels, value in found.items() if holds(value, bound)}
        return found

    def quotient(self) -> Vector:
        found = self.operand()
        while self.comes("/"):
            self.take()
            below = self.operand()
            both = found.keys() & below.keys()
            found = {one: found[one] / below[one] if below[one] else math.nan for one in both}
        return found

    def operand(self) -> Vector:
        name = self.take()
        if name in _FOLD:
            return self.folded(_FOLD[name])
        if name == "rate":
            self.take("(")
            found = self.rate()
            self.take(")")
            return found
        if name == "absent":
            self.take("(")
            found = self.quotient()
            self.take(")")
            return {} if found else {frozenset(): 1.0}
        if name == "histogram_quantile":
            self.take("(")
            share = float(self.take())
            self.take(",")
            found = _quantile(share, self.quotient())
            self.take(")")
            return found
        return self.selected(name, self.matchers(), -1)

    def folded(self, fold: Callable[[list[float]], float]) -> Vector:
        by: set[str] = set()
        if self.comes("by"):
            self.take()
            by = set(self.list_of_names())
        self.take("(")
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in self.quotient().items():
            groups[frozenset(pair for pair in labels if pair[0] in by)].append(value)
        self.take(")")
        return {labels: fold(values) for labels, values in groups.items()}

    def list_of_names(self) -> list[str]:
        self.take("(")
        names = [self.take()]
        while self.comes(","):
            self.take()
            names.append(self.take())
        self.take(")")
        return names

    def matchers(self) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        if self.comes("{"):
            self.take()
            while not self.comes("}"):
                found.append((self.take(), self.take(), self.take().strip('"')))
                if self.comes(","):
                    self.take()
            self.take("}")
        return found

    def selected(self, name: str, matchers: list[tuple[str, str, str]], place: int) -> Vector:
        found = self.scrapes.taken[place][1].get(name, {})
        return {
            labels: value
            for labels, value in found.items()
            if all(_MATCH[how](dict(labels).get(label, ""), wanted) for label, how, wanted in matchers)
        }

    def rate(self) -> Vector:
        name, matchers = self.take(), self.matchers()
        self.take("[")
        length = self.take()
        self.take("]")
        seconds = float(length[:-1]) * _UNITS[length[-1]]
        now = self.scrapes.taken[-1][0]
        found = {}
        for labels, last in self.selected(name, matchers, -1).items():
            series = ((at, told[name][labels]) for at, told in self.scrapes.taken if labels in told[name])
            at, first = next((at, value) for at, value in series if at >= now - seconds)
            if at < now:
                found[labels] = (last - first) / (now - at)
        return found


def _quantile(share: float, buckets: Vector) -> Vector:
    """Linear within the bucket that holds the share, as Prometheus does; the last bound for what is above all."""
    series: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, value in buckets.items():
        others = frozenset(pair for pair in labels if pair[0] != "le")
        series[others].append((float(dict(labels)["le"]), value))
    return {labels: _within(share, sorted(found)) for labels, found in series.items()}


def _within(share: float, buckets: list[tuple[float, float]]) -> float:
    wanted = share * buckets[-1][1]
    low = below = 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return math.nan
