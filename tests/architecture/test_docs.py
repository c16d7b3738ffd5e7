"""What the documents say about files and settings is so."""

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from service.errors import catalogue
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "deploy/README.md",
        "deploy/SCALE.md",
        "service/PROMISES.md",
        "service/README.md",
        "workers/PLUGINS.md",
        "workers/README.md",
        "workers/learning/data/README.md",
    )
]
_FOLDERS = {"deploy", "openapi", "service", "tests", "workers"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path with a slash in backquotes: of the repository, or below the folder of the document.
_PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+)?)`")
_VARIABLE = re.compile(r"GLEANER_[A-Z0-9_]*[A-Z0-9]")
_PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_PROBLEM = re.compile(r"4\d\d `([a-z-]+)`")


def row_of(name: str, field: FieldInfo) -> str:
    """The line of a setting in the table of the README."""
    default = "empty" if field.default in {None, "", ()} else f"`{field.default}`"
    return f"| `GLEANER_{name.upper()}` | {default} | {field.description} |"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_readme_tells_every_setting(name: str) -> None:
    assert row_of(name, Settings.model_fields[name]) in (ROOT / "README.md").read_text().splitlines()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    links = [link.partition("#")[0] for link in _LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    places = (ROOT, document.parent)
    made = "deploy/secrets/"  # at the first start
    named = [path for path in _PATH.findall(text) if not f"{path}/".startswith(made)]
    missing = [path for path in named if not any((place / path).exists() for place in places)]
    assert [path for path in missing if _is_ours(path, document)] == []
    variables = {f"GLEANER_{name.upper()}" for name in Settings.model_fields}
    variables |= set(_VARIABLE.findall((ROOT / "deploy/compose.yaml").read_text()))
    assert set(_VARIABLE.findall(text)) <= variables
    assert set(_PROBLEM.findall(text)) <= set(catalogue())


def test_every_proof_of_a_promise_is_a_test() -> None:
    proofs = _PROOF.findall((ROOT / "service/PROMISES.md").read_text())
    assert proofs
    assert [proof for proof in proofs if not _is_test(*proof)] == []


def _is_test(file: str, name: str) -> bool:
    return re.search(rf"^(async def |def ){name}\(|^{name} = ", (ROOT / file).read_text(), re.MULTILINE) is not None


def _is_ours(path: str, document: Path) -> bool:
    """Whether a path begins with a source folder, of the repository or of the document's package."""
    first = path.partition("/")[0]
    return first in _FOLDERS or (document.parent != ROOT and (document.parent / first).is_dir())
