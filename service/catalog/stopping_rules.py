"""The stopping rules that `GET /v1/stopping-rules` lists."""

from collections.abc import Mapping

from service.catalog.entries import StoppingRuleEntry

STOPPING_RULES: Mapping[str, StoppingRuleEntry] = {}
