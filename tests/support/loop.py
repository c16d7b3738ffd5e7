"""The loop as an annotation tool plays it, against any running service."""

from tests.support.stack import Client, points

WAIT = {"Prefer": "wait=30"}
ROUNDS = 3
EACH = 20


def play_the_loop(client: Client) -> tuple[str, dict[int, str]]:
    """Upload, and then query, label and train three times; check the batches, the curve and the last model.

    Returns:
        The project's id, and the training of each number of labels.
    """
    X, truth = points(300)
    project_id = client.project(retraining={"first_at": EACH, "every": EACH})
    assert client.upload(project_id, X).json()["created"] == 300
    seen: set[str] = set()
    trainings: dict[int, str] = {}
    for version in range(ROUNDS):
        query = client.http.post(f"/v1/projects/{project_id}/queries", json={"k": EACH}, headers=WAIT)
        assert (query.status_code, query.json()["state"]) == (202, "succeeded")
        batch = client.http.get(query.json()["links"]["batch"]).json()
        assert (batch["model"]["version"] if batch["model"] else 0) == version
        picked = {item["example_id"] for item in batch["items"]}
        assert len(picked) == EACH
        assert not picked & seen
        seen |= picked
        labels = client.label(project_id, {example_id: truth[example_id] for example_id in picked})
        trainings[len(seen)] = labels.json()["training"]["job_id"]
        client.succeeded(trainings[len(seen)])
    _check_outcome(client, project_id)
    return project_id, trainings


def _check_outcome(client: Client, project_id: str) -> None:
    progress = client.http.get(f"/v1/projects/{project_id}/progress").json()
    assert [(point["model_version"], point["labels_used"]) for point in progress["curve"]] == [
        (version, version * EACH) for version in range(1, ROUNDS + 1)
    ]
    X, truth = points(300)
    examples = [{"vector": row.tolist()} for row in X[:50]]
    answer = client.http.post(f"/v1/projects/{project_id}/models/{ROUNDS}/predict", json={"examples": examples})
    assert answer.status_code == 200
    right = [said["label"] == truth[f"e{n}"] for n, said in enumerate(answer.json()["predictions"])]
    assert sum(right) > 30
