"""A plug-in that cannot be used keeps the service from starting, and is named."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.catalog import plugins as catalogue
from service.catalog.entries import EstimatorEntry
from service.catalog.estimators import ESTIMATORS
from tests.plugins.installing import made_up, run
from workers.learning import plugins as implementations
from workers.learning.estimators.base import Implementation
from workers.learning.strategies.base import Scorer, Selector

ENTRIES = """
from service.catalog.entries import EstimatorEntry, FeaturizerEntry, StrategyEntry, schema_of
def estimator(name, **parameters):
    return EstimatorEntry(name=name, summary="A test.", parameters=schema_of(**parameters))
"""
CATALOG = "[gleaner.catalog]\nours = broken_catalog:ENTRIES\n"
MINE = CATALOG + "[gleaner.estimators]\nmine = broken_code:MINE\n"
GOOD = ENTRIES + "ENTRIES = (estimator('mine'),)"

CATALOGUE_FAULTS = {
    "no module": (CATALOG, "", "cannot be loaded: AttributeError"),
    "raises": (CATALOG, "1 / 0", "cannot be loaded: ZeroDivisionError"),
    "no tuple": (CATALOG, "ENTRIES = [1]", "must be a tuple"),
    "clash": (
        MINE.replace("mine", "knn"),
        ENTRIES + "ENTRIES = (estimator('knn'),)",
        "the name 'knn' is taken by Gleaner",
    ),
    "twice": (MINE, ENTRIES + "ENTRIES = (estimator('mine'), estimator('mine'))", "'mine' is taken by broken-package"),
    "bad name": (MINE, ENTRIES + "ENTRIES = (estimator('My own'),)", "must have a name of small letters"),
    "bad default": (
        MINE,
        ENTRIES + "ENTRIES = (estimator('mine', size={'type': 'integer', 'default': 'x', 'description': '.'}),)",
        "the default of 'size' is wrong",
    ),
    "no type": (MINE, ENTRIES + "ENTRIES = (estimator('mine', size={'default': 1}),)", "not made by `schema_of`"),
    "vectors": (
        CATALOG,
        ENTRIES + "ENTRIES = (FeaturizerEntry(name='mine', summary='.', parameters=schema_of(), serves='vector'),)",
        "must serve text",
    ),
    "numbers": (
        MINE,
        ENTRIES
        + "ENTRIES = (EstimatorEntry(name='mine', summary='.', parameters=schema_of(), tasks=('regression',)),)",
        "cannot serve regression",
    ),
    "labelled": (
        CATALOG,
        ENTRIES
        + "ENTRIES = (StrategyEntry(name='mine', summary='.', paper='', kind='selector', parameters=schema_of(), "
        + "needs=('features',), cost='', picks='labelled'),)",
        "must pick from the pool",
    ),
    "no implementation": (CATALOG, GOOD, "'mine' has no entry point of that name in gleaner.estimators"),
    "no entry": (MINE, ENTRIES + "ENTRIES = ()", "'mine' of gleaner.estimators has no entry in gleaner.catalog"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package with these entry points and modules for this process, until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(points: str, **modules: str) -> None:
        catalogue._found.cache_clear()  # noqa: SLF001 - a process loads its plug-ins once
        made_up(tmp_path, "broken-package", points, **modules)

    yield made
    catalogue._found.cache_clear()  # noqa: SLF001 - likewise
    for name in ("broken_catalog", "broken_code"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("fault", CATALOGUE_FAULTS)
def test_the_catalogue_refuses_it_and_names_the_package(install: Callable[..., None], fault: str) -> None:
    points, catalog, sentence = CATALOGUE_FAULTS[fault]
    install(points, broken_catalog=catalog)
    with pytest.raises(catalogue.PluginError) as refused:
        catalogue.with_plugins(EstimatorEntry, ESTIMATORS.values())
    assert sentence in str(refused.value)
    assert "broken-package" in str(refused.value)


ROLES = {"serve": ("--port", "1"), "dispatcher": (), "openapi": (), "plugins": (), "worker": ()}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_starts_and_each_names_the_package(tmp_path: Path, role: str) -> None:
    made_up(tmp_path, "broken-package", CATALOG, broken_catalog="1 / 0")
    ended = run(tmp_path, "-m", "service.cli.main", role, *ROLES[role])
    assert ended.returncode == 1
    assert "broken-package" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_entry_that_loads_machine_learning_is_refused(tmp_path: Path) -> None:
    made_up(tmp_path, "broken-package", CATALOG, broken_catalog="import sklearn\nENTRIES = ()")
    ended = run(tmp_path, "-m", "service.cli.main", "openapi")
    assert ended.returncode == 1
    assert "broken-package" in ended.stderr
    assert "scipy, sklearn. The API loads it" in ended.stderr


STRATEGY = CATALOG + "[gleaner.strategies]\nmine = broken_code:MINE\n"
SCORER = (
    ENTRIES
    + "ENTRIES = (StrategyEntry(name='mine', summary='.', paper='', kind='scorer', parameters=schema_of(), "
    + "needs=('predictions',), cost=''),)"
)
LOADED: dict[str, tuple[str, tuple[type, ...]]] = {
    MINE: ("gleaner.estimators", (Implementation,)),
    STRATEGY: ("gleaner.strategies", (Scorer, Selector)),
}
IMPLEMENTATION_FAULTS = {
    "no module": (MINE, GOOD, "import not_here", "ModuleNotFoundError: No module named 'not_here'"),
    "wrong kind": (MINE, GOOD, "MINE = 3", "must give Implementation."),
    "no strategy": (STRATEGY, SCORER, "MINE = dict", "must give a class of Scorer or Selector."),
}


@pytest.mark.parametrize("fault", IMPLEMENTATION_FAULTS)
def test_what_workers_cannot_load_is_named(install: Callable[..., None], fault: str) -> None:
    points, catalog, code, sentence = IMPLEMENTATION_FAULTS[fault]
    install(points, broken_catalog=catalog, broken_code=code)
    group, kinds = LOADED[points]
    with pytest.raises(implementations.PluginError) as refused:
        implementations.with_plugins(group, {}, kinds, classes=points == STRATEGY)
    assert sentence in str(refused.value)
    assert "broken-package" in str(refused.value)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("from workers.learning.strategies.badge import Badge as MINE", "'mine' is a scorer; it is a selector"),
        (
            "from workers.learning.strategies.density import Density as MINE",
            "'mine' needs predictions; it needs features",
        ),
    ],
    ids=["selector", "other needs"],
)
def test_what_is_not_what_its_entry_says_is_named(tmp_path: Path, code: str, sentence: str) -> None:
    made_up(tmp_path, "broken-package", STRATEGY, broken_catalog=SCORER, broken_code=code)
    checked = run(tmp_path, "-m", "service.cli.main", "plugins")
    assert checked.returncode == 1
    assert sentence in checked.stderr
    assert "broken-package" in checked.stderr


def test_nothing_starts_when_workers_cannot_load_it(tmp_path: Path) -> None:
    made_up(tmp_path, "broken-package", MINE, broken_catalog=GOOD, broken_code="import not_here")
    started = run(tmp_path, "-m", "service.cli.main", "up", "--port", "0")
    assert started.returncode == 1
    assert "not_here" in started.stderr
    assert "ready" not in started.stdout
    worked = run(tmp_path, "-m", "service.cli.main", "worker")
    assert worked.returncode == 1
    assert "broken-package" in worked.stderr
    assert "Traceback" not in worked.stderr
