"""Each command over the real socket: what it answers and what it refuses."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.contracts import Trace
from cdmd.control.protocol import ConnectorRow, Status
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid, NotDurable, NotFound
from cdmd.models import Activity, SeenVerdict, Seq
from tests.control.doubles import AT, NOW, PROFILE, Daemon, applied, dead, event, lines, parked, seen


def test_what_connectors_show_is_listed_and_told_without_a_word_of_what_it_is(daemon: Daemon) -> None:
    client = daemon.client()
    assert client.get("/v1/shelves/files", {"limit": 99_999})[0]["limit"] == 10_000
    assert client.get("/v1/shelves/files", {"state": "gone"}) == client.get("/v1/shelves/books") == []
    done = client.post("/v1/shelves/files/skip", {"names": ["a.csv", "b.csv"], "connector": "shop"})
    assert (done["done"], done["name"], done["count"]) == ("skip", "shop", 2)
    assert daemon.runtime.done == [("files", "skip", "shop", "a.csv", "b.csv")]
    with pytest.raises(BadArguments, match="at least one of the files"):
        client.post("/v1/shelves/files/skip", {"names": []})
    assert [(row.command, row.arguments) for row in daemon.runtime.store.rows] == [
        ("files skip", '{"connector": "shop", "count": 2}'),
        ("files skip", '{"count": 0}'),
    ]


def test_the_status_has_every_field_that_is_promised(daemon: Daemon) -> None:
    document = daemon.client("reader").get("/v1/status")
    assert document["queue"] == {"events": 0, "max_events": 10000, "bytes": 0, "max_bytes": 67108864}
    assert document["journal"]["backlog"] == 0
    assert document["disk"]["days_left"] == 80.0
    assert document["totals"] == {"events": 1, "profiles": 1, "activities": 1, "dead_letters": 0, "deliveries_pending": 0}
    assert document["plugins"][0]["state"] == "enabled"
    assert set(document["connectors"][0]) >= {
        *("name", "type", "state", "freshness_objective_seconds", "freshness_seconds", "accepted", "duplicates", "filtered"),
        *("dead_letters", "last_event", "error", "received", "refused", "parked", "repeats", "backlog", "detail", "next"),
    }
    assert msgspec.convert(document, Status).version == "0.1.0"


def test_connectors_and_plugins_are_the_rows_of_the_status(daemon: Daemon) -> None:
    client = daemon.client("reader")
    assert [row["name"] for row in client.get("/v1/connectors")] == ["shop"]
    assert [row["name"] for row in client.get("/v1/plugins")] == ["warranty"]


def test_a_connector_is_paused_with_a_warning_and_resumed(daemon: Daemon) -> None:
    client = daemon.client()
    assert client.post("/v1/connectors/shop/pause")["warning"] == "its sender does not try again"
    assert daemon.runtime.states == {"shop": "paused"}
    assert client.post("/v1/connectors/shop/resume")["done"] == "resumed"
    assert daemon.runtime.states == {"shop": "running"}


def test_an_unknown_connector_is_not_found(daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="there is no connector nope"):
        daemon.client().post("/v1/connectors/nope/pause")


def test_a_pull_connector_is_woken_and_one_that_listens_is_not(daemon: Daemon) -> None:
    assert daemon.client().post("/v1/connectors/crm/poll")["done"] == "woken"
    assert daemon.runtime.done == [("poll", "crm")]
    with pytest.raises(BadArguments, match="only listens"):
        daemon.client().post("/v1/connectors/shop/poll")


def test_a_connector_that_is_still_configured_is_not_forgotten(daemon: Daemon) -> None:
    with pytest.raises(BadArguments, match="still configured"):
        daemon.client().post("/v1/connectors/shop/forget")
    assert daemon.client().post("/v1/connectors/gone/forget")["count"] == 3


def test_a_reload_reports_each_connector(daemon: Daemon) -> None:
    assert daemon.client().post("/v1/reload")["connectors"] == [{"name": "shop", "verdict": "unchanged", "problem": None}]


def test_a_reload_of_a_wrong_configuration_says_every_mistake(daemon: Daemon) -> None:
    daemon.runtime.trouble = ConfigInvalid(["a.toml: http.listen: one", "a.toml: queue: two"])
    with pytest.raises(ConfigInvalid) as caught:
        daemon.client().post("/v1/reload")
    assert caught.value.problems == ("a.toml: http.listen: one", "a.toml: queue: two")
    assert daemon.audits() == [("ada", "reload", "failed: ConfigInvalid")]


def test_the_configuration_is_shown_as_it_is_effective(daemon: Daemon) -> None:
    assert daemon.client("reader").get("/v1/config")["connectors"] == {"shop": {"secrets": ["credential:shop"]}}


def test_metrics_are_passed_on_as_text(daemon: Daemon) -> None:
    assert daemon.client("reader").text("/v1/metrics").endswith("cdmd_profiles 1.0\n")


@pytest.mark.parametrize("body", [{"level": "loud"}, {"level": "debug", "seconds": 0}, {"level": "debug", "seconds": 1e9}, {}])
def test_a_log_level_that_does_not_exist_is_refused(daemon: Daemon, body: dict[str, object]) -> None:
    with pytest.raises(BadArguments):
        daemon.client().post("/v1/log-level", body)
    assert daemon.runtime.done == []


def test_a_log_level_is_set_for_a_while(daemon: Daemon) -> None:
    said = daemon.client().post("/v1/log-level", {"level": "debug", "seconds": 600})
    assert (said["done"], said["name"]) == ("log level set to", "debug")
    assert daemon.runtime.done == [("log-level", "debug", 600.0)]


def test_a_backup_goes_to_a_new_file_only(daemon: Daemon, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    for path in (str(there), "relative", "/a\0b"):
        with pytest.raises(BadArguments):
            daemon.client().post("/v1/backup", {"path": path})
    assert daemon.runtime.done == []
    assert daemon.client().post("/v1/backup", {"path": str(tmp_path / "new")})["bytes"] == 12_288
    assert daemon.runtime.done == [("backup", str(tmp_path / "new"))]


def test_verify_tells_damage_in_both_databases(daemon: Daemon) -> None:
    assert daemon.client().post("/v1/verify") == {"whole": True, "problems": []}
    daemon.runtime.journal.damage, daemon.runtime.store.damage = ["journal: block 3"], ["store: row 4"]
    assert daemon.client().post("/v1/verify") == {"whole": False, "problems": ["journal: block 3", "store: row 4"]}


def test_the_newest_audit_rows_come_first(daemon: Daemon) -> None:
    client = daemon.client()
    client.post("/v1/connectors/shop/pause")
    client.post("/v1/connectors/shop/resume")
    rows = client.get("/v1/audit", {"limit": 1})
    assert [(row["command"], row["arguments"]) for row in rows] == [("resume", '{"connector": "shop"}')]
    assert datetime.fromisoformat(rows[0]["time"]) == NOW


# ---- events --------------------------------------------------------------------------------------------------------


def shown(daemon: Daemon, named: str) -> dict[str, Any]:
    [trace] = daemon.client("reader").get("/v1/event", {"id": named})["traces"]
    return trace


def steps(daemon: Daemon, named: str) -> list[str]:
    return [step["step"] for step in shown(daemon, named)["steps"]]


def test_the_way_of_an_applied_event_is_told_from_receipt_to_store(daemon: Daemon) -> None:
    applied(daemon.runtime)
    trace = shown(daemon, "evt-1")
    assert steps(daemon, "evt-1") == ["received", "accepted", "journaled", "extended", "resolved", "stored"]
    assert (trace["state"], trace["profile"]) == ("applied", "01JCANONICALPROFILE")
    extended, resolved, stored = trace["steps"][3:]
    assert extended["seconds"] == 0.02
    assert extended["facts"] == {"extension": "warranty", "outcome": "applied", "added": ["warranty"]}
    assert resolved["facts"] == {"rule": "email", "profile": "01JCANONICALPROFILE"}
    assert stored["text"] == "stored as of 2026-11-23T10:00:00.120Z"


def test_an_applied_event_is_told_after_the_journal_was_pruned(daemon: Daemon) -> None:
    applied(daemon.runtime)
    daemon.runtime.journal.entries.clear()
    assert shown(daemon, "evt-1")["steps"][2]["facts"] == {"seq": 1, "kept": False}
    assert shown(daemon, "evt-1")["event"]["type"] == "order.paid"


def test_an_event_of_nobody_whose_clock_is_ahead_is_told_so(daemon: Daemon) -> None:
    activity = Activity(seq=Seq(1), profile=None, time=AT, event=event(), rule="none", clock_ahead=True)
    daemon.runtime.store.traces.append(("evt-1", Trace(source="shop", seen=seen(SeenVerdict.APPLIED), activity=activity)))
    resolved, stored = shown(daemon, "evt-1")["steps"][-2:]
    assert "nobody" in resolved["text"]
    assert "ahead" in stored["text"]


def test_a_dead_letter_tells_which_expression_failed_on_what(daemon: Daemon) -> None:
    dead(daemon.runtime, 2)
    trace = shown(daemon, "dead-2")
    assert trace["state"] == "dead-letter"
    assert "the part {to_number(total)} failed on text" in trace["summary"]
    assert trace["steps"][-1]["facts"]["path"] == "total"


def test_a_dead_letter_without_a_type_could_not_be_mapped(daemon: Daemon) -> None:
    dead(daemon.runtime, 2, type="")
    assert "could not be mapped" in [step["text"] for step in shown(daemon, "dead-2")["steps"]]


def test_a_parked_event_tells_for_whom_it_waits_and_until_when(daemon: Daemon) -> None:
    parked(daemon.runtime, 3)
    trace = shown(daemon, "parked-3")
    assert trace["state"] == "parked"
    assert trace["summary"] == "it waits for the extension warranty: it timed out"
    assert "next try 2026-11-23T10:00:00Z" in trace["steps"][-1]["text"]


@pytest.mark.parametrize(
    ("verdict", "state"), [(SeenVerdict.FILTERED, "filtered"), (SeenVerdict.SUPPRESSED, "suppressed"), (99, "unknown")]
)
def test_an_event_of_which_nothing_is_kept_is_still_told(daemon: Daemon, verdict: SeenVerdict, state: str) -> None:
    daemon.runtime.store.traces.append(("gone", Trace(source="shop", seen=seen(verdict))))
    daemon.runtime.journal.unreadable = True
    trace = shown(daemon, "gone")
    assert (trace["state"], trace["event"]) == (state, None)
    assert [step["step"] for step in trace["steps"]] == ["journaled", "decided"]


def test_a_filtered_event_is_told_from_the_journal_while_that_keeps_it(daemon: Daemon) -> None:
    daemon.runtime.journal.add(event("gone"))
    daemon.runtime.store.position = Seq(1)
    daemon.runtime.store.traces.append(("gone", Trace(source="shop", seen=seen(SeenVerdict.FILTERED))))
    assert steps(daemon, "gone") == ["received", "accepted", "journaled", "decided"]


def test_an_event_that_is_acknowledged_and_not_applied_yet_is_waiting(daemon: Daemon) -> None:
    applied(daemon.runtime)
    daemon.runtime.journal.add(*(event(f"other-{number}") for number in range(1500)), event("late"))
    trace = shown(daemon, "late")
    assert trace["state"] == "waiting"
    assert steps(daemon, "late") == ["received", "accepted", "journaled"]


def test_a_journal_that_ends_before_its_head_is_not_searched_for_ever(daemon: Daemon) -> None:
    daemon.runtime.journal.limit = 0
    daemon.runtime.journal.add(event("late"))
    with pytest.raises(NotFound):
        shown(daemon, "late")


def test_the_same_id_from_two_sources_is_two_events(daemon: Daemon) -> None:
    applied(daemon.runtime)
    daemon.runtime.journal.add(event("evt-1", source="crm.contacts"))
    client = daemon.client("reader")
    assert [trace["source"] for trace in client.get("/v1/event", {"id": "evt-1"})["traces"]] == ["shop", "crm.contacts"]
    assert [t["source"] for t in client.get("/v1/event", {"id": "evt-1", "source": "crm.contacts"})["traces"]] == [
        "crm.contacts"
    ]


@pytest.mark.parametrize("named", ["nope", "../../etc/passwd", "a/b?c=d&e#f", "\x1b[2J", "ü", "%00", "\0", "x" * 3000])
def test_an_event_that_nobody_knows_is_not_found_whatever_its_id(daemon: Daemon, named: str) -> None:
    with pytest.raises(NotFound, match="no such event"):
        daemon.client("reader").get("/v1/event", {"id": named})


@pytest.mark.parametrize("named", ["../../etc/passwd", "a/b?c=d&e#f", "\x1b[2J", "ü %41", "\0"])
def test_an_event_is_found_by_any_id_that_a_sender_may_give(daemon: Daemon, named: str) -> None:
    applied(daemon.runtime, named=named)
    assert shown(daemon, named)["id"] == named


def test_the_live_tail_passes_its_filter_on_and_tells_what_was_lost(daemon: Daemon) -> None:
    [item] = lines([event()])
    daemon.runtime.items = [msgspec.structs.replace(item, lost=4, detail="warranty")]
    [line] = daemon.client("reader").stream("/v1/tail", {"connector": "shop", "type": "order.*", "stage": "applied"})
    with pytest.raises(BadArguments, match="there is no stage 'nosuch': it is one of accepted, extended, failed, applied"):
        next(daemon.client("reader").stream("/v1/tail", {"stage": "nosuch"}))
    assert (line["stage"], line["lost"], line["detail"], line["time"]) == ("stored", 4, "warranty", "2026-11-23T10:00:00.120Z")
    assert msgspec.structs.asdict(daemon.runtime.wanted) == {"connector": "shop", "type": "order.*", "stage": "applied"}


# ---- profiles ------------------------------------------------------------------------------------------------------


def test_a_profile_is_shown_in_the_promised_shape(daemon: Daemon) -> None:
    applied(daemon.runtime)
    document = daemon.client().get("/v1/profile", {"identifier": "email:canary-joe@example.com"})
    assert set(document) == {
        *("id", "identifiers", "traits", "trait_sources", "indicators", "audiences", "activities", "created", "updated"),
    }
    assert document["trait_sources"] == {"first_name": {"source": "shop", "time": "2026-11-23T10:00:00.120Z"}}
    assert document["created"] == "2026-11-23T10:00:00.120Z"
    assert document["activities"][0]["id"] == "evt-1"
    limited = daemon.client().get("/v1/profile", {"identifier": "email:canary-joe@example.com", "activities": 0})
    assert limited["activities"] == []


def test_a_customers_events_are_told_with_the_rule_that_made_them_theirs(daemon: Daemon) -> None:
    applied(daemon.runtime)
    store, key = daemon.runtime.store, ("email", "canary-joe@example.com")
    (paid,) = store.profiles[key].activities
    seen = msgspec.structs.replace(paid, event=event("evt-2", type="page.seen"), rule="matched email")
    store.profiles[key] = msgspec.structs.replace(store.profiles[key], activities=[seen, paid])

    def told(**query: object) -> list[tuple[str, str]]:
        rows = daemon.client().get("/v1/profile/events", {"identifier": ":".join(key), **query})
        return [(row["event"]["id"], row["rule"]) for row in rows]

    assert told() == [("evt-2", "matched email"), ("evt-1", "email")]
    assert told(type="order.*") == [("evt-1", "email")]
    assert told(limit=1) == [("evt-2", "matched email")]
    rows = daemon.client("reader").get("/v1/profile/events", {"identifier": ":".join(key)})
    assert (rows[1]["time"], rows[1]["event"]["identifiers"]) == ("2026-11-23T10:00:00.120Z", {"email": "[redacted]"})
    assert "canary" not in json.dumps(rows)
    row = store.rows[0]
    assert (row.command, json.loads(row.arguments)) == ("events of", {"kind": "email", "profile": PROFILE, "count": 2})
    with pytest.raises(NotFound):
        daemon.client().get("/v1/profile/events", {"identifier": "email:nobody@example.com"})


@pytest.mark.parametrize("identifier", ["email:nobody@example.com", "email:null", "email:a:b"])
def test_a_profile_that_nobody_has_is_not_found(daemon: Daemon, identifier: str) -> None:
    with pytest.raises(NotFound, match="nobody is known by that email"):
        daemon.client().get("/v1/profile", {"identifier": identifier})


@pytest.mark.parametrize("identifier", ["email", "email:", "shoe:42", ":x", "x"])
def test_an_identifier_without_a_configured_kind_is_refused(daemon: Daemon, identifier: str) -> None:
    with pytest.raises(BadArguments, match="user_id, customer_no, email"):
        daemon.client().get("/v1/profile", {"identifier": identifier})


# ---- dead letters --------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(daemon: Daemon) -> Daemon:
    dead(daemon.runtime, 1)
    dead(daemon.runtime, 2, code="extension", type="tv.runtime", source="tv.a")
    dead(daemon.runtime, 3, raw=b"")
    return daemon


def numbers(daemon: Daemon, **query: object) -> list[int]:
    return [row["seq"] for row in daemon.client("reader").get("/v1/dead-letters", query)]


def test_dead_letters_are_listed_by_filter(letters: Daemon) -> None:
    assert numbers(letters) == [1, 2, 3]
    assert numbers(letters, connector="tv") == [2]
    assert numbers(letters, type="order.*") == [1, 3]
    assert numbers(letters, code="extension") == [2]
    assert numbers(letters, limit=2) == [1, 2]


def test_one_dead_letter_is_shown_with_its_reason(letters: Daemon) -> None:
    found = letters.client("reader").get("/v1/dead-letters/1")
    assert found["letter"]["code"] == "mapping"
    assert found["raw_bytes"] == 21
    assert found["raw"] is None
    with pytest.raises(NotFound, match="no dead letter 9"):
        letters.client("reader").get("/v1/dead-letters/9")


def test_a_record_that_is_no_json_is_revealed_as_text(letters: Daemon) -> None:
    dead(letters.runtime, 4, raw=b"not \xff json")
    assert letters.client().get("/v1/dead-letters/4", {"reveal": True})["raw"] == "not \\xff json"
    assert letters.client().get("/v1/dead-letters/3", {"reveal": True})["raw"] is None


def test_dead_letters_that_their_connector_retries_itself_count_as_retried(daemon: Daemon) -> None:
    daemon.runtime.takes_back = 2
    done = daemon.client("admin").post("/v1/dead-letters/retry", {"connector": "survey"})
    assert done["count"] >= 2
    assert daemon.runtime.asked_back[0].connector == "survey"


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_dead_letters_are_moved_by_number_by_filter_or_all(letters: Daemon, verb: str) -> None:
    client = letters.client()
    assert client.post(f"/v1/dead-letters/{verb}", {"seqs": [1]})["count"] == 1
    assert client.post(f"/v1/dead-letters/{verb}", {"code": "extension"})["count"] == 1
    assert client.post(f"/v1/dead-letters/{verb}", {"code": "extension"})["count"] == 0
    assert numbers(letters) == [3]
    assert letters.client().post(f"/v1/dead-letters/{verb}", {"all": True})["count"] == 1
    assert numbers(letters) == []
    with pytest.raises(NotFound, match="no dead letter of that number"):
        letters.client().post(f"/v1/dead-letters/{verb}", {"seqs": [1]})


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_more_than_one_batch_of_dead_letters_is_moved(daemon: Daemon, verb: str) -> None:
    for seq in range(1, 2502):
        dead(daemon.runtime, seq)
    assert daemon.client().post(f"/v1/dead-letters/{verb}", {"connector": "shop"})["count"] == 2501
    assert daemon.runtime.store.letters == {}


@pytest.mark.parametrize(
    "body", [{}, {"seqs": []}, {"seqs": [1], "all": True}, {"all": True, "code": "x"}, {"seqs": [1] * 1001}, {"all": False}]
)
@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_selection_that_says_nothing_or_two_things_moves_nothing(letters: Daemon, verb: str, body: dict[str, object]) -> None:
    with pytest.raises(BadArguments):
        letters.client().post(f"/v1/dead-letters/{verb}", body)
    assert numbers(letters) == [1, 2, 3]


# ---- trouble -------------------------------------------------------------------------------------------------------


def test_an_error_of_ours_keeps_its_meaning_across_the_socket(daemon: Daemon) -> None:
    daemon.runtime.trouble = NotDurable("the disk is full", retry_after=7)
    with pytest.raises(NotDurable, match="the disk is full") as caught:
        daemon.client().get("/v1/status")
    assert caught.value.retry_after == 7


def test_our_own_mistake_is_answered_without_its_text(daemon: Daemon) -> None:
    daemon.runtime.trouble = ZeroDivisionError("canary")
    with pytest.raises(CdmdError, match="its log says which") as caught:
        daemon.client().get("/v1/status")
    assert "canary" not in str(caught.value)


def test_a_row_of_a_hostile_name_arrives_as_it_is(daemon: Daemon) -> None:
    daemon.runtime.extra_connectors = [ConnectorRow(name="a\x1b[31m", type="x", state="failed")]
    assert daemon.client().get("/v1/connectors")[1]["name"] == "a\x1b[31m"
