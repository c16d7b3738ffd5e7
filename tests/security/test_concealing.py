"""Secrets that are told by their form: out of log lines, and out of the pointers of problems."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from service.concealing import conceal
from tests.support.runtime import Api

KEY = "gln_abc/defgh+ijkl=mnop~qrst"
SECRETS = [
    KEY,
    "gln_0123456789abcdefABCDEF0123",
    "whsec_abcd/EFGHijklMNOPqrstUVWX+yz0/123456789==",
    "whsec_/abcdEFGHijklMNOPqrst",
    "whsec_abcd%2FEFGH%3D%3D",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "/v1/keys/{}", "Bearer {}, again", '{{"key": "{}"}}', "key={}&page_size=1"])
def test_keys_and_webhook_secrets_are_concealed_whole(secret: str, around: str) -> None:
    prefix = secret[: secret.index("_") + 1]
    assert conceal(around.format(secret)) == around.format(f"{prefix}...")


@pytest.mark.parametrize(
    "password", ["s", "secret", "a:colon", "sl/ash/es", "at@at", "qu?e#y", 'quo"te', "gln_abcdefgh", "%40&;,'\\)"]
)
@pytest.mark.parametrize("user", ["", "u", "user%40x"])
def test_passwords_of_any_length_in_urls_are_concealed(password: str, user: str) -> None:
    around = "cannot reach postgresql://{}:{}@db:5432/gleaner?options=a@b, http://other:8000/x"
    assert conceal(around.format(user, password)) == around.format(user, "...")


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8000/v1/projects", "unix:///data/redis.sock", "redis://host:6379/0 (a@b)", "gln_", "gln_short"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert conceal(text) == text


@pytest.mark.parametrize("piece", ["://:", "://a:b@", "@x", "://", "gln_", "whsec_a?", "://a:@x/"])
def test_no_text_takes_long(piece: str) -> None:
    text = "://a:" + piece * 20_000
    began = time.process_time()
    conceal(text)
    assert time.process_time() - began < 2  # what looks back takes minutes


def test_a_line_of_the_log_stays_json_without_the_secrets() -> None:
    event = {"path": f"/{SECRETS[2]}", "error": 'redis://:p"w/d@host:1 is away', "more": "a@b"}
    code = (
        "from service.telemetry import configure_logging, logger; configure_logging('info', role='test'); "
        f"logger('test').info('event', **{event!r})"
    )
    written = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr
    line = json.loads(written)
    assert (line["path"], line["error"], line["more"]) == ("/whsec_...", "redis://:...@host:1 is away", "a@b")


def _pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422
    assert "defgh" not in answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


def test_a_secret_as_a_name_is_not_repeated_in_a_pointer(api: Api) -> None:
    path = f"/v1/projects/{api.project()}"
    headers = {"If-Match": api.http.get(path).headers["ETag"]}
    rows = {"examples": [{"id": "a", "vector": [1, 2], KEY: 1}]}
    estimator = {"name": "logistic_regression", "params": {KEY: 1}}
    assert _pointers(api.http.post("/v1/projects", json={KEY: 1})) == ["/name", "/task", "/features", "/gln_..."]
    assert _pointers(api.http.post(f"{path}/examples", json=rows)) == ["/gln_..."]
    changed = api.http.patch(path, json={"estimator": estimator}, headers=headers)
    assert _pointers(changed) == ["/estimator/params/gln_..."]
