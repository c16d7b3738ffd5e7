import pytest

from tests.states import clock
from tests.support.databases import default_kind


@pytest.fixture(autouse=True)
def _database_of_the_machines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis makes the machines, where no fixture reaches: they find the databases in their module."""
    if default_kind() == "postgresql":
        monkeypatch.setattr(clock, "spare", request.getfixturevalue("spare_databases"))
