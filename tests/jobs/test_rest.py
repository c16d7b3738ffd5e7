"""Trainings that follow each other without a pause leave the processor most of the time to others."""

from datetime import datetime, timedelta

from service.actions import jobs, trainings
from service.actions.jobs import Claim
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import jobs as queries
from service.dispatcher.relay import Relay
from tests.support.pools import add_examples, add_labels
from tests.support.runtime import Api
from tests.support.working import drain

TOOK = timedelta(seconds=5)
LEASE = timedelta(seconds=60)


def claim(runtime: Runtime, job_id: str, *, now: datetime) -> Claim | None:
    with runtime.write() as session:
        return jobs.claim(session, job_id, lease=LEASE, now=now)


def one_behind_another(api: Api, *, took: timedelta = TOOK) -> tuple[str, str, datetime]:
    """A project with a training that waits behind one which has just ended; both, and when it did."""
    project_id = api.project(retraining={"first_at": 4, "every": 4, "idle_seconds": 60})
    add_examples(api, project_id, 20)
    first = add_labels(api, project_id, range(4))["training"]["job_id"]
    began = utc_now()
    held = claim(api.runtime, first, now=began)
    assert held is not None
    waiting = add_labels(api, project_id, range(4, 8))["training"]["job_id"]
    assert waiting != first
    with api.runtime.write() as session:
        job = queries.get(session, first)
        assert job is not None
        assert jobs.finish(session, held, now=began + took, result={})
        trainings.after_end(session, job, now=began + took, share=10, succeeded=True)
    return project_id, waiting, began + took


def test_the_next_training_rests_nine_times_as_long_as_the_last_one_took(api: Api) -> None:
    _, waiting, ended = one_behind_another(api)
    assert claim(api.runtime, waiting, now=ended + 8.9 * TOOK) is None  # an old ring came up
    Relay().ring_due(api.runtime)
    assert drain(api.runtime) == 2  # the old rings of both, which do nothing
    assert claim(api.runtime, waiting, now=ended + 9 * TOOK) is not None


def test_no_rest_is_longer_than_a_minute(api: Api) -> None:
    _, waiting, ended = one_behind_another(api, took=timedelta(hours=1))
    assert claim(api.runtime, waiting, now=ended + timedelta(seconds=59)) is None
    assert claim(api.runtime, waiting, now=ended + timedelta(seconds=60)) is not None


def test_a_training_that_is_asked_for_does_not_rest(api: Api) -> None:
    project_id, waiting, _ = one_behind_another(api)
    drain(api.runtime)
    asked = api.http.post(f"/v1/projects/{project_id}/trainings", json={}).json()
    assert (asked["id"], asked["state"]) == (waiting, "queued")
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{waiting}").json()["state"] == "succeeded"
