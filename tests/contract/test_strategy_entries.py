"""What every strategy's catalogue entry says, and that the code behind it agrees."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from service.catalog.parameters import required
from service.catalog.strategies import STRATEGIES
from tests.contract.queries import every_strategy, make_query, params_of, ranked
from tests.support.runtime import Api
from workers.learning.strategies.registry import SCORERS, SELECTORS, needs_of, scorer, selector

_YEAR = re.compile(r"\b(19|20)\d\d\b")
_COST = re.compile(r"O\([^)]*\b[nNsm]\b")

CLASSES = {**SCORERS, **SELECTORS}
every_class = pytest.mark.parametrize("strategy", CLASSES)
PARAMETERS = [
    pytest.param(name, parameter, rule, id=f"{name}-{parameter}")
    for name, entry in STRATEGIES.items()
    for parameter, rule in entry.parameters["properties"].items()
]


@every_strategy
def test_an_entry_names_its_paper_cost_kind_and_needs(strategy: str) -> None:
    entry = STRATEGIES[strategy]
    assert _YEAR.search(entry.paper) or strategy == "random"
    assert _COST.search(entry.cost)
    assert entry.tasks
    assert entry.needs == needs_of(strategy)
    kinds = {"random": "scorer", "auto": "composite"}
    assert entry.kind == kinds.get(strategy, "scorer" if strategy in SCORERS else "selector")


@pytest.mark.parametrize(("strategy", "parameter", "rule"), PARAMETERS)
def test_a_parameter_has_a_type_bounds_and_a_default_or_is_required(
    strategy: str, parameter: str, rule: dict[str, Any]
) -> None:
    assert rule["description"].endswith(".")
    assert ("default" in rule) != (parameter in required(STRATEGIES[strategy].parameters))
    types = {rule["type"]} if isinstance(rule["type"], str) else set(rule["type"])
    if types & {"integer", "number"}:
        assert {"minimum", "exclusiveMinimum"} & set(rule)
        assert "maximum" in rule or "exclusiveMaximum" in rule
    if "string" in types:
        assert {"enum", "format"} & set(rule)


@every_class
def test_parameters_are_fields_of_the_class_with_the_same_defaults(strategy: str) -> None:
    schema = STRATEGIES[strategy].parameters
    made = CLASSES[strategy]
    fields: dict[str, dataclasses.Field[Any]] = getattr(made, "__dataclass_fields__", {})
    assert set(schema["properties"]) <= set(fields)
    for name, field in fields.items():
        if name in required(schema):
            assert field.default is dataclasses.MISSING
        elif name in schema["properties"]:
            assert field.default == schema["properties"][name]["default"]
        else:
            assert (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
    params = params_of(strategy)
    built = scorer(strategy, params, "classification") if strategy in SCORERS else selector(strategy, params)
    assert isinstance(built, made)


@every_class
def test_a_class_tells_its_paper_and_its_cost(strategy: str) -> None:
    text = CLASSES[strategy].__doc__ or ""
    assert _YEAR.search(text)
    assert "O(" in text


@pytest.mark.parametrize(("strategy", "parameter", "rule"), PARAMETERS)
def test_a_strategy_ranks_with_a_parameter_at_its_bounds(strategy: str, parameter: str, rule: dict[str, Any]) -> None:
    bounds = [rule[bound] for bound in ("minimum", "maximum") if bound in rule]
    bounds += [np.nextafter(rule["exclusiveMinimum"], np.inf)] if "exclusiveMinimum" in rule else []
    for value in [*bounds, *rule.get("enum", [])]:
        ranked(make_query(strategy, params=params_of(strategy, **{parameter: value}), reserve=5))


def test_all_of_it_is_listed_over_http(api: Api) -> None:
    items = api.http.get("/v1/strategies").json()["items"]
    assert {item["name"]: item for item in items} == {
        name: {
            "name": name,
            "summary": entry.summary,
            "paper": entry.paper,
            "kind": entry.kind,
            "parameters": dict(entry.parameters),
            "needs": list(entry.needs),
            "tasks": list(entry.tasks),
            "cost": entry.cost,
            "picks": entry.picks,
        }
        for name, entry in STRATEGIES.items()
    }
