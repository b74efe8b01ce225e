"""What the source makes a file of while one waits: started once, waited for over restarts, given up when it takes too long."""

import io
import json
import zipfile
from typing import Any

import pytest

from tests.connectors.rest.api import Api, Asked, answer, moment
from tests.connectors.rest.driving import Driven, mistakes

pytestmark = pytest.mark.anyio

EXPORT = """
base_url = "https://api.example/v3"
limits = "1000/1s"
[streams.responses]
method = "POST"
path = "/exports"
body = { format = "ndjson", from = "{since}" }
format = { type = "jsonl" }
page = { type = "none" }
since = { field = "{recorded}", initial = "2025-01-01T00:00:00Z", lookback = "1s" }
event = { id = "{id}", type = "survey.answered", time = "{recorded}" }
[streams.responses.export]
id = "{result.job}"
progress = "/exports/{job}"
done = "{result.status == 'complete'}"
failed = "{result.status == 'failed'}"
file = "/exports/{file}/file"
file_id = "{result.file}"
every = "5s"
within = "10m"
"""


class Exports(Api):
    """Exports that are done when they were asked about ``asks`` times; ``jobs`` is how many were started."""

    def __init__(self, *, asks: int = 2) -> None:
        super().__init__()
        self.asks, self.jobs, self.since = asks, 0, ""
        self.left: dict[str, int] = {}
        self.answers: list[dict[str, Any]] = [
            {"id": f"r{number}", "recorded": moment(number), "said": "kept by nobody"} for number in range(3)
        ]

    def _said(self, request: Asked) -> Any:
        if request.method == "POST":
            self.jobs += 1
            self.left[f"j{self.jobs}"] = self.asks
            self.since = request.json["from"]
            return answer(200, {"result": {"job": f"j{self.jobs}", "status": "inProgress"}})
        name = request.path.removeprefix("/v3/exports/")
        if name.endswith("/file"):
            found = [json.dumps(one).encode() + b"\n" for one in self.answers if one["recorded"] >= self.since]
            return answer(200, body=b"".join(found), content_type="x/y")
        if name not in self.left:
            return answer(404, {})
        self.left[name] -= 1
        if self.left[name] > 0:
            return answer(200, {"result": {"status": "inProgress", "file": None}})
        return answer(200, {"result": {"status": "complete", "file": f"f-{name}"}})


@pytest.fixture
def api() -> Exports:
    return Exports()


async def test_an_export_is_started_asked_about_and_fetched_and_the_next_one_begins_where_it_ended(api: Exports) -> None:
    driven = Driven(EXPORT, api)
    look = await driven.look("responses")
    assert (look.trouble, look.warning, look.new, look.requests) == (None, None, 3, 4)
    assert [(one.method, one.path.removeprefix("/v3")) for one in api.log] == [
        ("POST", "/exports"), ("GET", "/exports/j1"), ("GET", "/exports/j1"), ("GET", "/exports/f-j1/file"),
    ]  # fmt: skip
    assert api.log[0].json == {"format": "ndjson", "from": "2025-01-01T00:00:00Z"}
    assert (look.ended - look.began).total_seconds() >= 10
    assert driven.ids == ["r0", "r1", "r2"]
    api.answers.append({"id": "r9", "recorded": moment(9)})
    assert (await driven.look("responses")).new == 1
    assert api.asked("/v3/exports")[-1].json["from"] == moment(1)


async def test_a_restart_waits_for_the_job_that_was_started_before_it(api: Exports) -> None:
    """Seen to fail without the job's name in the state before it is asked about."""
    api.asks = 10_000
    driven = Driven(EXPORT, api)
    await driven.run(60)
    assert (api.jobs, driven.ids) == (1, [])
    driven.restart()
    api.left["j1"] = 1
    await driven.run(60)
    assert driven.ids == ["r0", "r1", "r2"]
    assert api.asked("/v3/exports/j1")
    assert b"rest/responses/export" not in driven.source.state, "it is gone with the last of its records"
    assert api.jobs == 1


async def test_a_job_whose_request_is_no_longer_what_is_wanted_is_not_waited_for(api: Exports) -> None:
    api.asks = 10_000
    driven = Driven(EXPORT, api)
    await driven.run(60)
    changed = Driven(EXPORT.replace("ndjson", "jsonl"), api)
    changed.source.state = dict(driven.source.state)
    api.asks = 1
    await changed.look("responses")
    assert api.jobs == 2


async def test_an_export_that_takes_too_long_is_given_up_also_over_restarts(api: Exports) -> None:
    api.asks = 10_000
    driven = Driven(EXPORT, api)
    look = await driven.look("responses")
    assert look.trouble == "the export was not done within 10m: another one is started at the next look"
    assert (look.ended - look.began).total_seconds() <= 600
    await driven.run(400)
    driven.restart()
    await driven.run(400)
    assert api.jobs == 3, "what was waited before a restart counts"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"result": {"status": "failed"}}, "the source says that the export failed"),
        ({"result": {"status": "complete"}}, "the answer holds no text at {result.file} (export.file_id)"),
        ({"result": {"status": "complete", "file": {"a": 1}}}, "the answer holds no text at {result.file} (export.file_id)"),
        (None, "the source no longer knows the export that it began (status 404)"),
    ],
)
async def test_an_export_that_fails_is_told_and_another_one_is_started(api: Exports, bad: Any, says: str) -> None:
    api.prepare("/v3/exports/j1", answer(404, {}) if bad is None else answer(200, bad))
    driven = Driven(EXPORT, api)
    look = await driven.look("responses")
    assert look.trouble is not None
    assert says in look.trouble
    if bad is None or bad["result"]["status"] == "failed":
        assert b"rest/responses/export" not in driven.source.state
    look = await driven.look("responses")
    assert (look.trouble, look.new) == (None, 3)


async def test_an_answer_without_a_job_or_without_that_place_starts_nothing(api: Exports) -> None:
    api.prepare("/v3/exports", answer(200, {"result": {}}), answer(404, {}), answer(200, [1]))
    driven = Driven(EXPORT, api)
    assert (await driven.look("responses")).trouble == "the answer holds no text at {result.job} (export.id)"
    assert (await driven.look("responses")).trouble == "the source knows no such export (status 404)"
    assert (await driven.look("responses")).trouble == "the answer holds no text at {result.job} (export.id)"
    failing = Driven(EXPORT.replace("{result.status == 'failed'}", "{abs(result.status)}"), api)
    assert "export.failed: " in str((await failing.look("responses")).trouble)


async def test_a_file_that_fails_for_a_while_is_fetched_again_and_one_that_is_none_is_made_again(api: Exports) -> None:
    api.prepare("/v3/exports/f-j1/file", *[answer(500, {})] * 5)
    driven = Driven(EXPORT, api)
    assert "status 500" in str((await driven.look("responses")).trouble)
    api.left["j1"] = 1
    api.prepare("/v3/exports/f-j1/file", answer(200, body=b"<html>", content_type="text/html"))
    assert "is a page (HTML)" in str((await driven.look("responses")).trouble)
    assert api.jobs == 1
    api.prepare("/v3/exports/f-j2/file", answer(404, {}), answer(304, {}))
    assert "the file that the source made is gone (status 404)" in str((await driven.look("responses")).trouble)
    api.prepare("/v3/exports/f-j3/file", answer(304, {}))
    assert "304" in str((await driven.look("responses")).trouble)
    look = await driven.look("responses")
    assert (look.trouble, look.new, api.jobs) == (None, 3, 4)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


async def test_a_packed_file_is_unpacked_within_bounds_and_what_is_none_is_told(api: Exports) -> None:
    row = json.dumps(api.answers[0]).encode()
    bad = {
        "not_one_entry": zipped(a=row, b=row),
        "more than": zipped(a=b" " * (11 * 2**20)),
        "cut or damaged": b"PK\x03\x04 and no more",
    }
    driven = Driven(EXPORT, api)
    for number, content in enumerate(bad.values(), 1):
        api.prepare(f"/v3/exports/f-j{number}/file", answer(200, body=content))
        look = await driven.look("responses")
        assert "cannot be unpacked" in str(look.trouble)
    api.prepare("/v3/exports/f-j4/file", answer(200, body=zipped(Survey=row)))
    look = await driven.look("responses")
    assert (look.trouble, look.new) == (None, 1)


async def test_a_file_in_pages_is_fetched_page_by_page(api: Exports) -> None:
    """As Salesforce's Bulk API 2.0 does: csv, and a header that names the next page."""
    text = (
        EXPORT.replace('{ type = "jsonl" }', '{ type = "csv" }')
        .replace('{ type = "none" }', '{ type = "cursor", from = "{_fetch.headers.next_part}", param = "locator" }')
        .replace("{file}/file", "{job}/file")
        .replace('file_id = "{result.file}"', "")
    )
    first = answer(200, body=f"id,recorded\na,{moment(1)}\n".encode(), content_type="text/csv", next_part="two")
    last = answer(200, body=f"id,recorded\nb,{moment(2)}\n".encode(), content_type="text/csv")
    api.prepare("/v3/exports/j1/file", first, last)
    driven = Driven(text, api)
    look = await driven.look("responses")
    assert (look.trouble, driven.ids, api.jobs) == (None, ["a", "b"], 1)
    assert [one.query for one in api.asked("/v3/exports/j1/file")] == [{}, {"locator": "two"}]
    assert api.log[-1].headers["accept"] == "*/*"


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("{result.job}", "{", "export.id: column 1: a closing } is missing"),
        ('"/exports/{job}"', '"/exports/{since}"', "export.progress: knows no {since}, only {job}"),
        ('"/exports/{job}"', '"/exports"', "export.progress: must say which one: {job}"),
        ('"/exports/{job}"', '"/exports/{"', "export.progress: column "),
        ('"{result.file}"', '"{"', "export.file_id: column 1: a closing } is missing"),
        ('file_id = "{result.file}"', "", "export.file: knows no {file}, only {job}; `file_id` would say {file}"),
        ('"{file}/file"', '"{file}#x"', "export.file: must not have a fragment (#)"),
        ('every = "5s"', 'every = "5ms"', "export.every: at least 1s"),
        ("[streams.responses]", '[streams.responses]\nparent = { stream = "responses", fields = { a = "{a}" } }', "export: a"),
    ],
)
def test_an_export_that_cannot_be_is_a_mistake(old: str, new: str, mistake: str) -> None:
    text = EXPORT.replace('"/exports/{file}/file"', '"{file}/file"')
    assert mistakes(text) == []
    assert old in text
    found = mistakes(text.replace(old, new))
    assert [one for one in found if one.startswith(f"streams.responses.{mistake}")], found


async def test_windows_are_exported_one_after_the_other_and_only_the_last_one_may_be_an_older_now(api: Exports) -> None:
    """Seen to fail with the last window's end in what names it."""
    text = (
        EXPORT.replace('from = "{since}"', 'from = "{since}", to = "{until}"')
        .replace('"2025-01-01T00:00:00Z"', '"2026-01-01T00:00:00Z", window = "200d"')
        .replace('"1s" }', '"1s", order = "asc" }')
    )
    driven = Driven(text, api)
    look = await driven.look("responses")
    assert (look.trouble, [one.json["to"] for one in api.asked("/v3/exports")]) == (None, [
        "2026-07-20T00:00:00Z", "2027-01-01T00:00:10Z",
    ])  # fmt: skip
    api.asks = 10_000
    await driven.run(60)
    assert api.jobs == 3
    driven.restart()
    api.left["j3"] = 1
    await driven.run(60)
    assert api.jobs == 3, "its end was now, and is not any more"


async def test_what_was_exported_up_to_then_does_not_stand_for_a_window_that_has_passed(api: Exports) -> None:
    """Seen to fail with a job of another end taken for this one's: what came between the two would be missing."""
    text = EXPORT.replace('from = "{since}"', 'from = "{since}", to = "{until}"')
    api.asks = 10_000
    driven = Driven(text.replace('"2025-01-01T00:00:00Z"', '"2026-12-01T00:00:00Z", window = "200d"'), api)
    await driven.run(60)
    assert api.asked("/v3/exports")[0].json["to"] == "2027-01-01T00:00:00Z"
    driven.clock.elapsed += 300 * 86_400
    driven.restart()
    api.left["j1"], api.asks = 1, 1
    await driven.look("responses")
    assert [one.json["to"] for one in api.asked("/v3/exports")[1:]] == ["2027-06-19T00:00:00Z", "2027-10-28T00:01:05Z"]


async def test_trying_one_says_what_is_waited_for_and_keeps_no_job(api: Exports) -> None:
    driven, told = Driven(EXPORT, api), list[str]()

    async def main() -> None:
        await driven.connector.sample(driven.source, told.append)

    await driven.clock.run(main)
    assert told == [
        "asks the source for an export ...",
        "waits for the source's export ...",
        "responses: 4 requests, 3 records",
        "responses: it would keep: 2026-01-01T00:00:02Z",
    ]
    assert (len(driven.ids), driven.source.state) == (3, {})
