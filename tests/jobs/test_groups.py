"""At most one example of a group comes into a batch, and the shares drawn at random stay fair."""

from collections import Counter
from typing import Any

import pytest

from tests.support.bodies import points, upload
from tests.support.pools import add_labels, ask, batch
from tests.support.runtime import Api
from tests.support.working import drain


def grouped(api: Api, sizes: list[int], **project: Any) -> tuple[str, dict[str, int]]:
    """A project of groups of these sizes, and the group of each example."""
    project_id = api.project(retraining={"automatic": False}, **project)
    group_of = dict(enumerate(number for number, size in enumerate(sizes) for _ in range(size)))
    rows = points(sum(sizes))
    upload(api, project_id, [{**row, "group": f"document {group_of[n]}"} for n, row in enumerate(rows)])
    return project_id, {f"e{n}": number for n, number in group_of.items()}


def groups_of(found: dict[str, Any], group_of: dict[str, int]) -> list[int]:
    return [group_of[item["example_id"]] for item in found["items"]]


@pytest.mark.parametrize("strategy", ["auto", "random", "margin", "k_center"])
@pytest.mark.parametrize("trained", [False, True])
def test_a_batch_has_one_of_each_and_says_what_it_left_out(api: Api, strategy: str, *, trained: bool) -> None:
    project_id, group_of = grouped(api, [30, 5, 5, 1, 1])
    if trained:
        add_labels(api, project_id, range(10))
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
    found = batch(api, project_id, k=8, strategy=strategy, annotator="ann", lease_seconds=60)
    assert sorted(groups_of(found, group_of)) == [0, 1, 2, 3, 4]
    assert found["pool"]["group_mates"] == 42 - 10 * trained - 5
    assert found["exhausted"] is False
    own = batch(api, project_id, k=8, strategy=strategy, annotator="ann", lease_seconds=60)
    assert sorted(groups_of(own, group_of)) == [0, 1, 2, 3, 4]  # what is theirs already, and nothing beside it
    other = batch(api, project_id, k=8, strategy=strategy, annotator="bob", lease_seconds=60)
    assert sorted(groups_of(other, group_of)) == [0, 1, 2]


def test_examples_without_a_group_are_each_by_themselves(api: Api) -> None:
    project_id, _ = grouped(api, [4])
    upload(api, project_id, points(3, first=50))
    found = batch(api, project_id, k=9, lease_seconds=0)
    ids = {item["example_id"] for item in found["items"]}
    assert len(ids) == 4
    assert ids > {"e50", "e51", "e52"}


def test_losers_of_a_race_get_others_of_the_groups_that_are_left(api: Api) -> None:
    project_id, group_of = grouped(api, [3, 3])
    jobs = [ask(api, project_id, k=2, annotator=name, strategy="random", seed=1) for name in ("ann", "bob", "cyd")]
    drain(api.runtime)
    found = [api.http.get(f"/v1/jobs/{job_id}/batch").json() for job_id in jobs]
    assert [sorted(groups_of(one, group_of)) for one in found] == [[0, 1]] * 3
    assert len({item["example_id"] for one in found for item in one["items"]}) == 6


def test_the_held_out_share_is_drawn_whatever_groups_and_priorities_say(api: Api) -> None:
    """Of a part that is made of whole groups."""
    plain, _ = grouped(api, [10] * 6, holdout_fraction=0.5)
    marked, _ = grouped(api, [10] * 6, holdout_fraction=0.5)
    for number in range(0, 60, 7):
        api.http.patch(f"/v1/projects/{marked}/examples/e{number}", json={"pinned": True})

    def drawn(project_id: str) -> list[tuple[str, float]]:
        found = batch(api, project_id, k=8, seed=3, lease_seconds=0)
        held = [item for item in found["items"] if item["reason"]["strategy"] == "holdout"]
        return [(item["example_id"], item["reason"]["propensity"]) for item in held]

    assert len(drawn(plain)) == 4
    assert drawn(marked) == drawn(plain)


def test_groups_that_are_held_out_and_large_end_no_query(api: Api) -> None:
    """They stay out beside the share, and are more than any ranking holds."""
    project_id, group_of = grouped(api, [100] * 6, holdout_fraction=0.5)
    found = batch(api, project_id, k=20, lease_seconds=0)
    sources = [item["reason"]["strategy"] for item in found["items"]]
    held = {group for group, source in zip(groups_of(found, group_of), sources, strict=True) if source == "holdout"}
    assert sources.count("holdout") >= 10
    assert len(found["items"]) - sources.count("holdout") == 6 - len(held)
    assert found["pool"]["group_mates"] == 600 - len(found["items"])
    assert found["exhausted"] is False


def test_explored_examples_tell_how_probable_they_were(api: Api) -> None:
    project_id, group_of = grouped(api, [6, 3, 1])
    found = batch(api, project_id, k=2, explore=1.0, lease_seconds=0)
    sizes = Counter(group_of.values())
    assert len(set(groups_of(found, group_of))) == 2
    for item in found["items"]:
        size = sizes[group_of[item["example_id"]]]
        assert item["reason"]["propensity"] == pytest.approx(2 / 3 / size)


def test_a_prepared_ranking_goes_through_the_groups_round_by_round(api: Api) -> None:
    project_id, group_of = grouped(api, [3, 2, 1])
    path = f"/v1/projects/{project_id}/next"
    given = []
    for _ in range(6):
        while (answer := api.http.get(path, params={"annotator": "ann"})).status_code == 202:
            drain(api.runtime)
        item = answer.json()
        given.append(group_of[item["example_id"]])
        row = {"example_id": item["example_id"], "label": "a", "annotator": "ann"}
        api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [row]})
    assert Counter(given) == {0: 3, 1: 2, 2: 1}
    assert len(set(given[:3])) == 3
    while (answer := api.http.get(path, params={"annotator": "ann"})).status_code == 202:
        drain(api.runtime)
    assert answer.status_code == 204
