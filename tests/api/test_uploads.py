import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from service.actions import large_uploads
from service.actions.bulk import RowSpool
from service.actions.example_rows import StoredRow
from service.actions.large_uploads import recover
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import examples as example_queries
from service.db.queries import uploads as upload_queries
from service.db.tables import Chunk, Example, IdempotentAnswer, Label, LooseVector, Pool, StagedExample, Upload
from service.settings import MIB
from service.storage.memory import MemoryObjects
from tests.codecs.bodies import ARROW, PARQUET
from tests.codecs.tables import table_body
from tests.support.bodies import NDJSON, candidates, counts, examples, label, lines, points, upload, vectors
from tests.support.runtime import Api, make_api

COUNT = 4500  # three slices


class BrokenDisk(MemoryObjects):
    """A store that takes no chunk."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def put(self, key: str, source: Path) -> None:
        if key.startswith("arrays/"):
            raise OSError(self.code, "the disk")
        super().put(key, source)


class KilledError(Exception):
    """Stands for the death of the process."""


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_uploads, "_SLICE", 2000)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged with a rendered traceback, which takes seconds."""
    with capture_logs():
        yield


@pytest.fixture
def killable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Kills the process in the n-th call of a query: nothing of ours runs any more, and nothing is cleaned up."""

    def kill(name: str, call: int) -> None:
        module = example_queries if hasattr(example_queries, name) else upload_queries
        real = getattr(module, name)
        calls = 0

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                monkeypatch.setattr(large_uploads, "_discard", lambda *_: False)
                raise KilledError
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    return kill


def count(api: Api, table: Any) -> int:
    with api.runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def pool_of(api: Api, project_id: str) -> Pool:
    with api.runtime.database.read() as session:
        return session.get_one(Pool, project_id)


def recover_all(api: Api, *, after: timedelta) -> int:
    slices = 0
    while True:
        with api.runtime.write() as session:
            if not recover(session, now=utc_now() + after, share=16):
                return slices
        slices += 1


def test_a_large_upload_is_one_chunk_and_all_of_it_is_a_candidate(api: Api) -> None:
    project_id = api.project()
    rows = points(COUNT)
    rows[7]["split"] = "test"
    rows[8]["label"] = "a"
    answer = upload(api, project_id, rows).json()
    assert (answer["received"], answer["created"], answer["rejected"]) == (COUNT, COUNT, 0)
    assert vectors(api, project_id) == {i: [float(i), 1.0] for i in range(COUNT)}
    assert candidates(api, project_id) == [i for i in range(COUNT) if i not in {7, 8}]
    assert (count(api, Chunk), count(api, LooseVector)) == (1, 0)
    found = counts(api, project_id)
    assert (found["examples"]["total"], found["examples"]["labeled"], found["labels"]["human"]) == (COUNT, 1, 1)
    pool = pool_of(api, project_id)
    assert (pool.upload_id, pool.next_row, pool.chunk_generation) == (None, COUNT, 1)


@pytest.mark.parametrize("number", [1, 50, 51, 1203])
@pytest.mark.parametrize("alike", [True, False])
def test_all_of_an_example_is_kept_whether_others_have_the_same_or_not(api: Api, number: int, *, alike: bool) -> None:
    kinds: list[dict[str, Any]] = [
        {"data": {"note": "x"}, "split": "pool", "group": "g", "priority": 1.5},
        {"data": None, "split": "test", "group": None, "priority": None},
        {"data": {"note": "y"}, "split": "pool", "group": None, "priority": 0.0},
    ]
    of = [kinds[0 if alike else i % 3] for i in range(number)]
    sent = [{**row, **{name: value for name, value in kind.items() if value is not None}}
            for row, kind in zip(points(number), of, strict=True)]  # fmt: skip
    project_id = api.project()
    assert upload(api, project_id, sent).json()["created"] == number
    found = examples(api, project_id)
    assert len(found) == min(number, 1000)
    for i, kind in enumerate(of[:1000]):
        assert {name: found[f"e{i}"][name] for name in kind} == kind
    assert upload(api, project_id, sent).json()["unchanged"] == number


def test_known_examples_in_a_large_upload_are_changed_after_it(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(20))
    label(api, project_id, {"example_id": "e2", "label": "a"})
    rows = points(1500)
    rows[0]["vector"] = [7.0, 7.0]
    rows[1]["data"] = {"note": "x"}
    rows[2]["vector"] = [8.0, 8.0]
    rows[3]["label"] = "b"
    answer = upload(api, project_id, rows).json()
    assert {name: answer[name] for name in ("received", "created", "updated", "unchanged")} == {
        "received": 1500,
        "created": 1480,
        "updated": 3,
        "unchanged": 17,
    }
    # rows 20 to 1519 were reserved; the chunk has the 1,480 new ones, then come the two that moved
    found = vectors(api, project_id)
    assert found[20] == [20.0, 1.0]
    assert found[1499] == [1499.0, 1.0]
    assert (found[1520], found[1521]) == ([7.0, 7.0], [8.0, 8.0])
    assert (0 in found, 2 in found) == (False, False)
    assert candidates(api, project_id) == [1, *range(4, 1500), 1520]
    assert examples(api, project_id)["e1"]["data"] == {"note": "x"}
    assert counts(api, project_id)["examples"]["labeled"] == 2
    assert (count(api, StagedExample), pool_of(api, project_id).upload_id) == (0, None)
    assert upload(api, project_id, rows).json()["unchanged"] == 1500


def test_text_uploads_have_no_vectors(api: Api) -> None:
    project_id = api.project(features={"type": "text", "field": "body"})
    rows = [{"id": f"t{i}", "data": {"body": f"text {i}"}} for i in range(1200)]
    assert upload(api, project_id, rows).json()["created"] == 1200
    assert (count(api, Chunk), count(api, LooseVector)) == (0, 0)
    assert len(candidates(api, project_id)) == 1200
    rows[5]["data"] = {"body": "other"}
    assert upload(api, project_id, rows).json()["updated"] == 1
    assert 5 not in candidates(api, project_id)


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, 503), (errno.EDQUOT, 503), (errno.EIO, 500)])
def test_a_full_disk_leaves_nothing_and_may_have_room_again(runtime: Runtime, code: int, status: int) -> None:
    api = make_api(replace(runtime, objects=BrokenDisk(code)))
    project_id = api.project()
    answer = upload(api, project_id, points(COUNT, label="a"))
    assert (answer.status_code, "Retry-After" in answer.headers) == (status, status == 503)
    assert (count(api, Example), count(api, Label), count(api, Upload)) == (0, 0, 0)
    assert pool_of(api, project_id).upload_id is None
    assert counts(api, project_id)["examples"]["total"] == 0


@pytest.mark.parametrize("call", [1, 3])
def test_a_crash_in_staging_is_never_seen_and_is_removed(
    api: Api, killable: Callable[[str, int], None], call: int
) -> None:
    project_id = api.project()
    upload(api, project_id, [{"id": "old", "vector": [0.0, 0.0]}])
    before = counts(api, project_id)
    killable("add", call)
    rows = [*points(COUNT, label="a"), {"id": "old", "vector": [5.0, 5.0]}]
    with pytest.raises(KilledError):
        upload(api, project_id, rows)
    assert count(api, Example) == 1 + 2000 * (call - 1)
    assert list(examples(api, project_id)) == ["old"]
    assert api.http.get(f"/v1/projects/{project_id}/labels").json()["items"] == []
    assert api.http.get(f"/v1/projects/{project_id}/examples/e0").status_code == 404
    assert counts(api, project_id) == before
    assert candidates(api, project_id) == [0]
    unknown = label(api, project_id, {"example_id": "e0", "label": "a"})
    assert unknown.json()["errors"][0]["code"] == "unknown_example"
    if call == 3:
        with api.runtime.database.read() as session:
            hidden = session.scalars(select(Label.id)).first()
        assert api.http.delete(f"/v1/projects/{project_id}/labels/{hidden}").status_code == 404
        busy = upload(api, project_id, points(1))
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert recover_all(api, after=timedelta(0)) == 0
    assert recover_all(api, after=timedelta(seconds=61)) > 1
    assert (count(api, Example), count(api, Label), count(api, Upload), count(api, StagedExample)) == (1, 0, 0, 0)
    assert pool_of(api, project_id).upload_id is None
    assert upload(api, project_id, rows).json()["created"] == COUNT


def test_a_dead_upload_keeps_others_away_for_as_long_as_the_setting_says(
    runtime: Runtime, killable: Callable[[str, int], None]
) -> None:
    api = make_api(replace(runtime, settings=runtime.settings.model_copy(update={"upload_lease_seconds": 60.0})))
    project_id = api.project()
    killable("add", 2)
    with pytest.raises(KilledError):
        upload(api, project_id, points(COUNT))
    assert recover_all(api, after=timedelta(seconds=40)) == 0
    assert recover_all(api, after=timedelta(seconds=61)) > 1


def test_the_next_upload_removes_what_a_dead_one_left(api: Api, killable: Callable[[str, int], None]) -> None:
    project_id = api.project()
    killable("add", 2)
    with pytest.raises(KilledError):
        upload(api, project_id, points(COUNT))
    with api.runtime.database.write() as session:
        session.execute(update(Pool).values(upload_until=utc_now() - timedelta(seconds=1)))
    assert upload(api, project_id, points(1500)).json()["created"] == 1500
    assert count(api, Example) == 1500
    assert counts(api, project_id)["examples"]["total"] == 1500


def test_a_crash_after_publishing_is_rolled_forward(api: Api, killable: Callable[[str, int], None]) -> None:
    project_id = api.project()
    upload(api, project_id, points(3))
    killable("staged", 1)
    rows = [{"id": "e1", "vector": [6.0, 6.0], "label": "b"}, *points(1500, first=3)]
    path = f"/v1/projects/{project_id}/examples"
    headers = {**NDJSON, "Idempotency-Key": "once"}
    with pytest.raises(KilledError):
        api.http.post(path, content=lines(rows), headers=headers)
    assert counts(api, project_id)["examples"]["total"] == 1503
    assert examples(api, project_id)["e1"]["status"] == "unlabeled"
    assert recover_all(api, after=timedelta(seconds=61)) == 2
    changed = api.http.get(f"/v1/projects/{project_id}/examples/e1").json()
    assert changed["labels"][0]["label"] == "b"
    assert vectors(api, project_id)[1504] == [6.0, 6.0]
    with api.runtime.database.read() as session:
        assert session.scalars(select(Upload.state)).all() == ["published"]
        assert session.scalars(select(IdempotentAnswer.status)).all() == [200]
    again = api.http.post(path, content=lines(rows), headers=headers)
    assert (again.headers["Idempotent-Replayed"], again.json()["created"]) == ("true", 1500)


def test_an_upload_that_is_answered_again_is_done_and_changes_nothing_later(
    api: Api, killable: Callable[[str, int], None]
) -> None:
    project_id = api.project()
    upload(api, project_id, points(3))
    killable("staged", 1)
    rows = [{"id": "e1", "vector": [6.0, 6.0], "data": {"edition": 1}, "label": "b"}, *points(1500, first=3)]
    path = f"/v1/projects/{project_id}/examples"
    headers = {**NDJSON, "Idempotency-Key": "once"}
    with pytest.raises(KilledError):
        api.http.post(path, content=lines(rows), headers=headers)
    again = api.http.post(path, content=lines(rows), headers=headers)
    assert (again.headers["Idempotent-Replayed"], again.json()["updated"]) == ("true", 1)
    found = api.http.get(f"{path}/e1").json()
    assert (found["data"], found["status"]) == ({"edition": 1}, "labeled")
    upload(api, project_id, [{"id": "e1", "vector": [7.0, 7.0], "data": {"edition": 2}}])
    label(api, project_id, {"example_id": "e1", "label": "a"})
    assert recover_all(api, after=timedelta(seconds=61)) == 0
    found = api.http.get(f"{path}/e1").json()
    assert (found["data"], found["labels"][0]["label"]) == ({"edition": 2}, "a")


def test_one_large_upload_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = api.project()
    monkeypatch.setattr(large_uploads, "PATIENCE_SECONDS", 0.3)
    with api.runtime.database.write() as session:
        session.execute(update(Pool).values(upload_id="upl_other", upload_until=utc_now() + timedelta(seconds=60)))
    busy = upload(api, project_id, points(1000))
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "10")
    assert upload(api, project_id, points(999)).json()["created"] == 999


def test_a_frozen_upload_cannot_publish_what_was_taken_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = api.project()
    real = example_queries.add
    slices = 0

    def frozen(session: Session, *args: Any, **kwargs: Any) -> None:
        nonlocal slices
        slices += 1
        real(session, *args, **kwargs)
        if slices == 3:
            # as if this process had slept for two minutes and the dispatcher had begun to remove the upload
            pool = session.get_one(Pool, project_id)
            pool.upload_until = utc_now() - timedelta(seconds=1)
            session.flush()
            assert recover(session, now=utc_now(), share=16)

    monkeypatch.setattr(example_queries, "add", frozen)
    answer = upload(api, project_id, points(COUNT))
    assert answer.status_code == 503
    assert (count(api, Example), count(api, Upload), count(api, Chunk)) == (0, 0, 0)
    assert list(api.runtime.objects.list("arrays/")) == []


def test_a_project_deleted_meanwhile_ends_the_upload(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = api.project()
    real = large_uploads._slices  # noqa: SLF001 - the seam between two slices

    def interrupted(spool: Any) -> Iterator[Any]:
        for number, part in enumerate(real(spool)):
            if number == 1:
                assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
            yield part

    monkeypatch.setattr(large_uploads, "_slices", interrupted)
    assert upload(api, project_id, points(COUNT)).status_code == 404
    assert (count(api, Example), count(api, Upload)) == (0, 0)


def test_the_spool_folder_is_empty_afterwards(api: Api) -> None:
    project_id = api.project()
    upload(api, project_id, points(40_000))
    assert upload(api, project_id, [{"id": "x"}] * 2000).status_code == 422
    assert list(api.runtime.settings.spool_dir.iterdir()) == []


def test_slices_have_few_rows_where_these_are_large(tmp_path: Path) -> None:
    small = StoredRow("s", None, "pool", None, None, b"", b"", None, "")
    with RowSpool(StoredRow, tmp_path) as spool:
        for _ in range(6):
            spool.add([msgspec.structs.replace(small, data="x" * 4 * MIB)])
        for _ in range(5):
            spool.add([small] * 1000)
        assert [len(rows) for rows in large_uploads._slices(spool)] == [4, 2002, 2000, 1000]  # noqa: SLF001


def table(rows: list[dict[str, Any]]) -> pa.Table:
    fields = [("id", pa.string()), ("vector", pa.list_(pa.float32(), 2)), ("label", pa.string()), ("text", pa.string())]
    flat = [{**row, **row.get("data", {})} for row in rows]
    return pa.Table.from_pylist(flat, schema=pa.schema(fields))


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
@pytest.mark.parametrize("rows", [20, COUNT])
def test_tables_are_stored_as_the_same_rows_of_json_are(api: Api, media_type: str, rows: int) -> None:
    sent = points(rows)
    sent[1]["data"] = {"text": "t"}
    sent[2]["label"] = "a"
    project_id, other = api.project(), api.project()
    path, headers = f"/v1/projects/{project_id}/examples", {"Content-Type": media_type}
    answer = api.http.post(path, content=table_body(table(sent), media_type), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == upload(api, other, sent).json()
    assert vectors(api, project_id) == vectors(api, other)
    assert candidates(api, project_id) == candidates(api, other)
    again = upload(api, project_id, [{k: v for k, v in row.items() if k != "label"} for row in sent]).json()
    assert (again["unchanged"], again["updated"], again["created"]) == (rows, 0, 0)


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_bad_rows_of_tables_store_nothing_unless_asked(api: Api, media_type: str) -> None:
    project_id = api.project()
    sent = points(COUNT)
    sent[COUNT - 1]["vector"] = [float("nan"), 1.0]
    body, headers = table_body(table(sent), media_type), {"Content-Type": media_type}
    path = f"/v1/projects/{project_id}/examples"
    answer = api.http.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["line"]) == (422, COUNT)
    assert (counts(api, project_id)["examples"]["total"], count(api, Chunk)) == (0, 0)
    answer = api.http.post(f"{path}?mode=partial", content=body, headers=headers).json()
    assert (answer["created"], answer["rejected"], answer["errors"][0]["id"]) == (COUNT - 1, 1, f"e{COUNT - 1}")


def test_a_table_needs_the_library(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codecs.media.find_spec", lambda _: None)
    headers = {"Content-Type": ARROW}
    answer = api.http.post(f"/v1/projects/{api.project()}/examples", content=b"", headers=headers)
    assert answer.status_code == 415
    assert "`arrow`" in answer.json()["detail"]
