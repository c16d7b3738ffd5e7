"""Bodies of labels that are recorded in one transaction: each fares as if it had come alone, on both databases."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import orjson
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.actions import labels
from service.actions.bulk import BulkRequest, Mode
from service.actions.labels import Submission, Submitted
from service.api.deps.runtime import utc_now
from service.codecs.media import parse_media
from service.db.tables import Label
from service.errors import ConflictError, GleanerError, NotFoundError, RowsRejectedError, UnavailableError
from tests.support.runtime import Api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def project_id(api: Api) -> str:
    made = api.project(retraining={"automatic": False})
    rows = [{"id": f"e{n}", "vector": [n, 1.0]} for n in range(10)]
    assert api.http.post(f"/v1/projects/{made}/examples", json={"examples": rows}).json()["created"] == len(rows)
    return made


def kept(_: Session, __: Submitted) -> None:
    """Nobody asks for the answer again."""


def overtaken(_: Session, __: Submitted) -> None:
    raise ConflictError("Another request with this Idempotency-Key took over.")


def body(
    api: Api, project_id: str, content: bytes, *, mode: Mode = "atomic", keep: Any = kept, **changes: Any
) -> Submission:
    held = api.runtime
    request = BulkRequest(
        project_id=project_id,
        body=io.BytesIO(content),
        media=parse_media("application/json", None),
        mode=mode,
        look=held.database.look,
        read=held.database.read,
        write=held.write,
        objects=held.objects,
        settings=held.settings,
        clock=utc_now,
    )
    return Submission(replace(request, **changes), keep)


def rows(*labelled: tuple[str, str], annotator: str = "anna") -> bytes:
    return orjson.dumps({"labels": [{"example_id": e, "label": v, "annotator": annotator} for e, v in labelled]})


def stored(api: Api, project_id: str) -> dict[str, str]:
    items = api.http.get(f"/v1/projects/{project_id}/labels?page_size=100").json()["items"]
    assert len(items) == len({(item["example_id"], item["annotator"]) for item in items})
    return {item["example_id"]: item["label"] for item in items}


def counts(result: Submitted | Exception) -> tuple[int, int, int, int]:
    assert isinstance(result, Submitted), result
    outcome = result.outcome
    return outcome.created, outcome.updated, outcome.unchanged, outcome.rejected


def test_bad_bodies_leave_the_others_as_they_are(api: Api, project_id: str) -> None:
    good, unknown, broken, bad_class, partial = labels.submit(
        [
            body(api, project_id, rows(("e0", "a"), ("e1", "b"))),
            body(api, project_id, rows(("e2", "a"), ("nobody", "a"))),
            body(api, project_id, b'{"labels": ['),
            body(api, project_id, rows(("e3", "no such class"))),
            body(api, project_id, rows(("e4", "b"), ("nobody", "a")), mode="partial"),
        ]
    )
    assert counts(good) == (2, 0, 0, 0)
    assert isinstance(unknown, RowsRejectedError)
    assert unknown.errors[0].code == "unknown_example"
    assert isinstance(broken, GleanerError)
    assert broken.status == 400
    assert isinstance(bad_class, RowsRejectedError)
    assert counts(partial) == (1, 0, 0, 1)
    assert stored(api, project_id) == {"e0": "a", "e1": "b", "e4": "b"}
    labelled = api.http.get(f"/v1/projects/{project_id}/examples?status=labeled").json()["items"]
    assert {item["id"] for item in labelled} == {"e0", "e1", "e4"}


def test_the_same_answer_in_several_bodies_is_one_label_and_the_last_one_counts(api: Api, project_id: str) -> None:
    results = labels.submit([body(api, project_id, rows(("e0", value))) for value in ("a", "b", "b", "a")])
    assert [counts(result) for result in results] == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0)]
    assert stored(api, project_id) == {"e0": "a"}


def test_a_body_whose_answer_cannot_be_kept_is_not_recorded(api: Api, project_id: str) -> None:
    first, second, third = labels.submit(
        [
            body(api, project_id, rows(("e0", "a"))),
            body(api, project_id, rows(("e1", "a")), keep=overtaken),
            body(api, project_id, rows(("e2", "a"), ("nobody", "b")), mode="partial"),
        ]
    )
    assert counts(first) == (1, 0, 0, 0)
    assert isinstance(second, ConflictError)
    assert counts(third) == (1, 0, 0, 1), "counted once, though it was tried twice"
    assert stored(api, project_id) == {"e0": "a", "e2": "a"}


def test_a_bad_row_after_a_thousand_good_ones_rolls_its_own_body_back(api: Api, project_id: str) -> None:
    many = [(f"x{n}", "a") for n in range(1500)]
    examples = {"examples": [{"id": key, "vector": [0.5, 1.0]} for key, _ in many]}
    assert api.http.post(f"/v1/projects/{project_id}/examples", json=examples).status_code == 200
    good, large = labels.submit(
        [body(api, project_id, rows(("e0", "a"))), body(api, project_id, rows(*many, ("nobody", "a")))]
    )
    assert counts(good) == (1, 0, 0, 0)
    assert isinstance(large, RowsRejectedError)
    assert stored(api, project_id) == {"e0": "a"}


class Writing:
    """Transactions of at most three labels: how many each found and left. One of them may fail to commit."""

    def __init__(self, api: Api, *, failing: int | None = None) -> None:
        self.held = api.runtime
        self.settings = api.runtime.settings.model_copy(update={"max_labels": 3})
        self.failing = failing
        self.labels: list[tuple[int, int]] = []

    @contextmanager
    def write(self) -> Iterator[Session]:
        count = select(func.count()).select_from(Label)
        with self.held.write() as session:
            before = session.execute(count).scalar_one()
            yield session
            self.labels.append((before, session.execute(count).scalar_one()))
            if len(self.labels) == self.failing:
                raise OperationalError("COMMIT", None, OSError("no space left"))

    def bodies(self, api: Api, project_id: str, *sizes: int, keep: Any = kept) -> list[Submission]:
        """Bodies with so many labels each, of annotators of their own; the last one is kept by `keep`."""
        return [
            body(
                api,
                project_id,
                rows(*((f"e{n}", "a") for n in range(size)), annotator=f"ann-{turn}"),
                keep=keep if turn == len(sizes) - 1 else kept,
                settings=self.settings,
                write=self.write,
            )
            for turn, size in enumerate(sizes)
        ]


def test_a_transaction_has_no_more_labels_than_a_body_may_have(api: Api, project_id: str) -> None:
    writing = Writing(api)
    results = labels.submit(writing.bodies(api, project_id, 3, 1, 2, 2, 2, 1, 1, 1))
    assert [counts(result) for result in results] == [(n, 0, 0, 0) for n in (3, 1, 2, 2, 2, 1, 1, 1)]
    assert writing.labels == [(0, 3), (3, 6), (6, 8), (8, 11), (11, 13)]


def test_a_transaction_that_fails_leaves_those_before_as_they_are(api: Api, project_id: str) -> None:
    writing = Writing(api, failing=2)
    first, *others = labels.submit(writing.bodies(api, project_id, 2, 2, 2))
    assert counts(first) == (2, 0, 0, 0)
    assert [type(other) for other in others] == [OperationalError, OperationalError]
    items = api.http.get(f"/v1/projects/{project_id}/labels").json()["items"]
    assert [item["annotator"] for item in items] == ["ann-0", "ann-0"]


def test_a_list_of_errors_that_cannot_be_deleted_fails_no_other(
    api: Api, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_key: str) -> None:
        raise UnavailableError("The object storage does not answer.")

    def gone() -> NoReturn:
        raise NotFoundError("There is no such project.")

    monkeypatch.setattr(api.runtime.objects, "delete", away)
    bad = body(api, project_id, rows(("e2", "no such class")), write=gone)
    good, refused = labels.submit([body(api, project_id, rows(("e1", "a"))), bad])
    assert isinstance(good, Submitted)
    assert isinstance(refused, NotFoundError)
    assert stored(api, project_id) == {"e1": "a"}


def test_what_was_recorded_is_not_recorded_again_for_a_later_one(api: Api, project_id: str) -> None:
    writing = Writing(api)
    first, second, third = labels.submit(writing.bodies(api, project_id, 2, 2, 1, keep=overtaken))
    assert counts(first) == (2, 0, 0, 0)
    assert counts(second) == (2, 0, 0, 0)
    assert isinstance(third, ConflictError)
