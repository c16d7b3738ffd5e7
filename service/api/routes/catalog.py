"""What a project can name: strategies, estimators, featurizers, stopping rules."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi import APIRouter

from service.api.deps.callers import AnyCaller
from service.api.problems import responses
from service.api.schemas.base import Page
from service.api.schemas.catalog import EntryOut, EstimatorOut, FeaturizerOut, StoppingRuleOut, StrategyOut
from service.catalog.estimators import ESTIMATORS
from service.catalog.featurizers import FEATURIZERS
from service.catalog.stopping_rules import STOPPING_RULES
from service.catalog.strategies import STRATEGIES

router = APIRouter(prefix="/v1", tags=["catalogue"])

Out = TypeVar("Out", bound=EntryOut)


def _all(entries: Mapping[str, Any], form: type[Out]) -> Page[Out]:
    items = [form.model_validate(asdict(entry), strict=False) for entry in entries.values()]
    return Page(items=items, next_page_token=None)


@router.get("/strategies", operation_id="listStrategies", summary="List query strategies", responses=responses())
async def list_strategies(_: AnyCaller) -> Page[StrategyOut]:
    """What `strategy` can name, in a project or a query."""
    return _all(STRATEGIES, StrategyOut)


@router.get("/estimators", operation_id="listEstimators", summary="List estimators", responses=responses())
async def list_estimators(_: AnyCaller) -> Page[EstimatorOut]:
    """What a project's `estimator` can name."""
    return _all(ESTIMATORS, EstimatorOut)


@router.get("/featurizers", operation_id="listFeaturizers", summary="List featurizers", responses=responses())
async def list_featurizers(_: AnyCaller) -> Page[FeaturizerOut]:
    """How each type of features is made; `parameters` go into `features.params`."""
    return Page(items=[FeaturizerOut.of(entry) for entry in FEATURIZERS.values()], next_page_token=None)


@router.get("/stopping-rules", operation_id="listStoppingRules", summary="List stopping rules", responses=responses())
async def list_stopping_rules(_: AnyCaller) -> Page[StoppingRuleOut]:
    """What `GET /v1/projects/{project_id}/progress` judges by."""
    return _all(STOPPING_RULES, StoppingRuleOut)
