import pytest
from jsonschema import Draft202012Validator

from service.catalog.estimators import ESTIMATORS
from service.catalog.featurizers import FEATURIZERS
from service.catalog.stopping_rules import STOPPING_RULES
from service.catalog.strategies import STRATEGIES
from tests.support.runtime import Api


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/strategies", list(STRATEGIES)),
        ("/v1/estimators", list(ESTIMATORS)),
        ("/v1/featurizers", list(FEATURIZERS)),
        ("/v1/stopping-rules", list(STOPPING_RULES)),
    ],
)
def test_the_catalogue_is_listed_for_any_key(api: Api, path: str, names: list[str]) -> None:
    answer = api.http.get(path, headers=api.key("label:write"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["next_page_token"] is None
    assert [item["name"] for item in body["items"]] == names
    for item in body["items"]:
        assert item["summary"]
        assert item["tasks"]
        Draft202012Validator.check_schema(item["parameters"])
    assert api.http.get(path, headers={"Authorization": ""}).status_code == 401
