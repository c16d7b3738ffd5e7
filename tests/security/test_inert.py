"""What clients sent comes out again as data: not as a formula, not as markup, not as a line of the log."""

import csv
import io
import json
import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support.runtime import Api

HOSTILE = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\x1b[31mred",
    "<script>alert(1)</script>",
    "a\nb",
    "'=1",
]


@pytest.fixture
def project_id(api: Api) -> str:
    made = api.project(task={"type": "classification", "classes": HOSTILE})
    rows = [{"id": f"e{n}", "vector": [n, 1]} for n in range(len(HOSTILE))]
    assert api.http.post(f"/v1/projects/{made}/examples", json={"examples": rows}).status_code == 200
    return made


def test_labels_in_csv_are_no_formulas_and_come_back(api: Api, project_id: str) -> None:
    path = f"/v1/projects/{project_id}/labels"
    rows = [{"example_id": f"e{n}", "label": name, "annotator": "=x"} for n, name in enumerate(HOSTILE)]
    assert api.http.post(path, json={"labels": rows}).status_code == 200
    exported = api.http.get(path, headers={"Accept": "text/csv"})
    records = list(csv.DictReader(io.StringIO(exported.text, newline="")))
    assert len(records) == len(HOSTILE)
    for record in records:
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r", "\n")) for cell in record.values())
    again = io.StringIO(newline="")
    writer = csv.writer(again)
    writer.writerow(["example_id", "label", "annotator"])
    writer.writerows([record["example_id"], record["label"], record["annotator"]] for record in records)
    answer = api.http.post(path, content=again.getvalue().encode(), headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json().get("unchanged")) == (200, len(HOSTILE)), answer.text


@pytest.mark.parametrize("media", ["application/json", "text/csv", "application/x-ndjson"])
def test_no_answer_is_markup(api: Api, project_id: str, media: str) -> None:
    for path in (
        f"/v1/projects/{project_id}",
        f"/v1/projects/{project_id}/labels",
        "/v1/<script>",
        "/problems/conflict",
    ):
        answer = api.http.get(path, headers={"Accept": media})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "html" not in answer.headers["Content-Type"]


def test_the_page_of_the_documentation_runs_only_what_it_needs(api: Api) -> None:
    answer = api.http.get("/docs")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy


def test_no_client_writes_a_line_of_the_log_or_colours_a_terminal(
    api: Api, project_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = '\n{"event": "forged", "level": "error"}\n\x1b[2J\x9b31m\u2028\u0085'
    escaped = "".join(f"%{byte:02x}" for byte in forged.encode())
    for headers in ({"X-Request-Id": "\x1b[31mred"}, {"X-Request-Id": "a b"}, {"User-Agent": "\x1b]0;title\x07"}):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        api.http.get(f"/v1/projects/{escaped}/jobs", headers=raw)
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [{"example_id": forged, "label": forged}]})
    told = capsys.readouterr()
    lines = (told.out + told.err).split("\n")
    assert any("/v1/projects/" in line for line in lines)
    for line in filter(None, lines):
        assert json.loads(line)["event"] != "forged"
        assert line.isprintable(), line
