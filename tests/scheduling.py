"""Which process of a parallel run takes which tests, and in what order."""

from collections import Counter
from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling

WHOLE_SERVICES = ("tests/end_to_end", "tests/end_to_end/one_service", "tests/chaos")


def scope_of(nodeid: str) -> str:
    """What one process takes as a whole: a file, or all folders whose tests run a whole service of many processes.

    Two such services at once on a small machine meet deadlines that are none of theirs.
    """
    file = nodeid.partition("::")[0]
    return "whole services" if str(PurePosixPath(file).parent) in WHOLE_SERVICES else file


def sort(items: list[pytest.Item]) -> None:
    """Whole services first, as they wait more than they work, then the longest files: none is left at the end."""
    sizes = Counter(scope_of(item.nodeid) for item in items)
    items.sort(key=lambda item: (scope_of(item.nodeid) != "whole services", -sizes[scope_of(item.nodeid)], item.path))


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no annotations
    """Gives away scopes in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
