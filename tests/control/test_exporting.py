"""Everything that is held about a person, over the control socket."""

import json
from collections import defaultdict
from typing import Any

import msgspec
import pytest

from cdmd.config.schema import IdentitySettings
from cdmd.errors import BadArguments, Damaged, NotFound, NotPermitted
from cdmd.identity.identifiers import Kinds
from cdmd.models import Entry, Extended, Fault, IndicatorState, Notice, Parked, ProfileKey, Seq, TraitState, show_time
from cdmd.privacy.holdings import Holder
from tests.control.doubles import AT, NOW, Daemon, dead, event
from tests.control.test_explaining import JOE, NUMBER, ask, joined

SOMEBODY = event("other", identifiers={"email": "somebody@example.com"})


def exported(daemon: Daemon, role: str = "admin") -> dict[str, list[dict[str, Any]]]:
    lines = defaultdict(list)
    for line in daemon.client(role).stream("/v1/profile/export", {"identifier": ":".join(JOE)}):
        lines[line.pop("type")].append(line)
    return lines


@pytest.fixture
def full(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Joe has something in every table, and somebody else, too."""
    monkeypatch.setattr("cdmd.control.exporting._AT_ONCE", 1)
    monkeypatch.setattr("cdmd.control.exporting._JOURNAL_STEP", 1)
    joined(daemon)
    store, journal = daemon.runtime.store, daemon.runtime.journal
    store.membership.activities[0] = msgspec.structs.replace(
        store.membership.activities[0], trace=[Extended("warranty", 0.1, "extended", ["valid"])]
    )
    state = store.profiles[JOE].state
    state.traits["first_name"] = TraitState("canary-Joe", AT, 2, "crm")
    state.indicators["gone"] = IndicatorState(1, count=2)
    state.audiences["warranty_offer"] = AT
    store.membership.moves = [
        Notice(
            id=f"n{key}",
            audience="recent",
            profile=ProfileKey(key),
            public=f"p{key}",
            entered=key == 1,
            at=AT,
            reason="event seen",
        )
        for key in (1, 1, 9)
    ]
    dead(daemon.runtime, 21)
    letter = store.letters[21]
    store.letters[22] = msgspec.structs.replace(letter, seq=Seq(22), entry=Entry(SOMEBODY, letter.entry.fault, b'{"n":"else"}'))
    for seq, about in ((31, event("p1")), (32, SOMEBODY)):
        store.directory.waiting.append(
            Parked(seq=Seq(seq), entry=Entry(about), extension="slow", attempts=1, due=AT, since=AT, reason="late")
        )
    journal.add(event("j1"), SOMEBODY)
    journal.state["shop"] = {b"file/canary-4711.csv": b"\xffdone", b"other": b"x", b"todo": b"Canary-JOE@example.com"}
    return daemon


def test_a_line_for_each_thing_that_any_table_holds_about_the_person(full: Daemon) -> None:
    ask(full, JOE, NUMBER)
    found = exported(full)
    assert found["profile"] == [{"id": "p1", "created": show_time(NOW), "updated": show_time(NOW)}]
    assert [(one["kind"], one["value"], one["source"]) for one in found["identifier"]][:1] == [(*JOE, "shop")]
    assert found["trait"] == [{"name": "first_name", "value": "canary-Joe", "source": "crm", "time": show_time(NOW)}]
    assert [(one["name"], one["value"]) for one in found["indicator"]] == [("tv_hours", "canary-10001"), ("gone", None)]
    assert found["indicator"][1]["kept"]["count"] == 2
    assert found["audience"] == [{"name": "warranty_offer", "since": show_time(NOW)}]
    assert [one["event"]["id"] for one in found["activity"]] == ["e2", "e1"]
    assert found["activity"][1]["extensions"] == [{"extension": "warranty", "outcome": "extended", "added": ["valid"]}]
    assert [one["before"]["id"] for one in found["merge"]] == ["p2"]
    assert [one["what"] for one in found["audience_change"]] == ["entered", "entered"]
    assert [one["raw"] for one in found["dead_letter"]] == [{"name": "canary-raw"}]
    assert [one["event"]["id"] for one in found["parked"]] == ["p1"]
    assert [one["event"]["id"] for one in found["journal"]] == ["j1"]
    assert [one["key"] for one in found["connector_row"]] == ["file/canary-4711.csv", "todo"]
    assert found["connector_row"][0]["value"] == "\\xffdone"
    assert [one["command"] for one in found["audit"]] == ["profile explain", "profile export"]
    (summary,) = found["summary"]
    assert summary["counts"] == {kind: len(rows) for kind, rows in found.items() if kind != "summary"}
    assert "backups" in summary["not_searched"]
    assert "somebody" not in json.dumps(found)


def test_an_export_is_an_admins_and_leaves_a_row_before_the_first_line(full: Daemon) -> None:
    with pytest.raises(NotPermitted):
        exported(full, role="reader")
    stream = full.client().stream("/v1/profile/export", {"identifier": ":".join(JOE)})
    next(stream)
    row = full.runtime.store.rows[-1]
    assert (row.command, row.outcome, json.loads(row.arguments)) == (
        "profile export",
        "done",
        {"kind": "email", "profile": "p1"},
    )


def test_nobody_is_not_found_and_an_unknown_kind_is_refused(full: Daemon) -> None:
    for identifier in ("email:nobody@example.com", "email:null"):
        with pytest.raises(NotFound):
            list(full.client().stream("/v1/profile/export", {"identifier": identifier}))
    for identifier in ("canary:x", "email:"):
        with pytest.raises(BadArguments):
            list(full.client().stream("/v1/profile/export", {"identifier": identifier}))
    assert all("canary" not in row.arguments for row in full.runtime.store.rows)


def entry(raw: bytes) -> Entry:
    return Entry(event("x", identifiers={}), Fault("mapping", "it failed"), raw)


@pytest.mark.parametrize(
    ("raw", "is_about"),
    [
        (b'{"a":[{"mail":" Canary-Joe@Example.com "}]}', True),
        (b'{"canary-joe@example.com":null}', True),
        (b'{"n":471100}', True),
        (b'{"n":471100.5,"b":true}', False),
        (b'{"n":"12"}', False),
        (b'{"text":"write to canary-joe@example.com"}', False),
        (b"not json", False),
        (b"[" * 100_000, False),
        (b"", False),
    ],
)
def test_a_record_is_about_somebody_when_a_text_in_it_is_the_persons(raw: bytes, is_about: bool) -> None:
    holder = Holder([JOE, ("customer_no", "471100"), ("user_id", "12")], Kinds(IdentitySettings()))
    assert holder.concerns(entry(raw)) is is_about


def test_a_row_of_a_connector_is_not_about_somebody_for_a_few_letters() -> None:
    holder = Holder([("user_id", "12")], Kinds(IdentitySettings()))
    assert not holder.in_row(b"file/12.csv", b"12")


def test_a_record_that_is_no_json_is_shown_as_it_came(full: Daemon) -> None:
    letter = full.runtime.store.letters[21]
    about = msgspec.structs.replace(letter.entry, raw=b"\xffname")
    full.runtime.store.letters[21] = msgspec.structs.replace(letter, entry=about)
    assert [one["raw"] for one in exported(full)["dead_letter"]] == ["\\xffname"]


def test_an_export_that_cannot_go_on_says_why_instead_of_looking_whole(full: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def damaged(*_: object, **__: object) -> list[object]:
        raise Damaged("entry 7 does not fit its checksum")

    monkeypatch.setattr(full.runtime.journal, "read", damaged)
    lines = full.client().stream("/v1/profile/export", {"identifier": ":".join(JOE)})
    assert next(lines)["type"] == "profile"
    with pytest.raises(Damaged, match="entry 7 does not fit its checksum"):
        assert "summary" not in [line["type"] for line in lines]
