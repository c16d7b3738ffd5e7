"""A program's labels come by its batches only: none is stored with an example, and none is dropped silently."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy.orm import Session

from service.actions import uploads
from service.actions.bulk import BulkRequest
from service.api.deps.runtime import utc_now
from service.codecs.media import parse_media
from service.errors import ConflictError
from tests.support.bodies import counts, lines, points, upload
from tests.support.programs import NAME, create, labels_of
from tests.support.runtime import Api

SMALL, LARGE = 3, 1_200


def rows_of(count: int) -> list[dict[str, Any]]:
    """Examples of which the second comes with a label under the program's name, and the third with a person's."""
    rows = points(count)
    rows[1].update(label="a", annotator=NAME)
    rows[2].update(label="b", annotator="alice")
    return rows


def interleaved(api: Api, project_id: str, rows: list[dict[str, Any]], act: Callable[[], Any], *, read: int) -> None:
    """Upload rows; `act` takes place when they are read from the database for the `read`-th time."""
    reads = 0

    @contextmanager
    def reading() -> Iterator[Session]:
        nonlocal reads
        with api.runtime.database.read() as session:
            yield session
        reads += 1
        if reads == read:
            act()

    request = BulkRequest(
        project_id=project_id,
        body=BytesIO(lines(rows)),
        media=parse_media("application/x-ndjson", None),
        mode="atomic",
        look=api.runtime.database.look,
        read=reading,
        write=api.runtime.write,
        objects=api.runtime.objects,
        settings=api.runtime.settings,
        clock=utc_now,
    )
    uploads.submit(request, keep=lambda *_: None)
    assert reads >= read


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_a_label_under_the_name_of_a_program_is_a_bad_row(api: Api, *, count: int, known: bool) -> None:
    project_id = api.project()
    create(api, project_id)
    if known:
        assert upload(api, project_id, points(SMALL)).status_code == 200
    refused = upload(api, project_id, rows_of(count))
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["line"], error["id"], error["pointer"], error["code"]) == (2, "e1", "/annotator", "name_of_program")
    assert counts(api, project_id)["examples"]["total"] == (SMALL if known else 0)
    partly = upload(api, project_id, rows_of(count), mode="partial").json()
    assert partly["rejected"] == 1
    assert [one["annotator"] for one in labels_of(api, project_id)] == ["alice"]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_a_name_that_was_taken_meanwhile_is_told(api: Api, *, count: int, known: bool) -> None:
    project_id = api.project()
    if known:
        upload(api, project_id, points(SMALL))
    with pytest.raises(ConflictError):
        interleaved(api, project_id, rows_of(count), lambda: create(api, project_id), read=1)
    assert counts(api, project_id)["examples"]["total"] == (SMALL if known else 0)
    assert labels_of(api, project_id) == []


def test_what_was_acknowledged_is_applied_although_its_name_was_taken_since(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(SMALL))
    interleaved(api, project_id, rows_of(LARGE), lambda: create(api, project_id), read=2)
    assert {one["annotator"] for one in labels_of(api, project_id)} == {NAME, "alice"}
    assert counts(api, project_id)["labels"]["human"] == 2
