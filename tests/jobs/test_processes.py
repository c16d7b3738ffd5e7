"""Work over chunks in several processes: the same batches as in threads, whatever the features."""

from pathlib import Path
from typing import Any, Literal

from tests.support.pools import batch
from tests.support.runtime import make_api, make_runtime
from tests.support.texts import add_texts, label_texts, text_project
from tests.support.working import drain

ROWS = 9000  # more than a tile


def batches(folder: Path, parallel: Literal["threads", "loky"]) -> list[Any]:
    """What is asked for of a pool of texts, by a model and without one."""
    folder.mkdir()
    api = make_api(make_runtime(folder, parallel=parallel, chunk_threads=2))
    with api.http:
        project_id = text_project(api)
        add_texts(api, project_id, ROWS)
        first = batch(api, project_id, k=5, strategy="k_center", seed=1)
        label_texts(api, project_id, range(40))
        assert api.http.post(f"/v1/projects/{project_id}/trainings", json={}).status_code == 202
        drain(api.runtime)
        second = batch(api, project_id, k=20, strategy="margin", seed=1)
        assert second["model"]["version"] == 1
    api.runtime.database.close()
    return [[(item["example_id"], item["score"]) for item in asked["items"]] for asked in (first, second)]


def test_processes_give_the_batches_of_threads(tmp_path: Path) -> None:
    assert batches(tmp_path / "processes", "loky") == batches(tmp_path / "threads", "threads")
