"""What the journal took last, the causes of dead letters, the last hour, the last reload, and who asks."""

import pytest

from cdmd.control.protocol import ReloadReport
from cdmd.control.watching_shapes import DifferenceRow, LastReload
from cdmd.errors import NotFound
from cdmd.models import ERASED, Entry, Fault, Journaled, Seq
from tests.control.doubles import NOW, PROFILE, Daemon, applied, dead, event


def ids(daemon: Daemon, **query: object) -> list[str]:
    return [row["event"]["id"] for row in daemon.client("reader").get("/v1/events/recent", query)]


def test_the_newest_come_first_however_few_the_journal_hands_out_at_once(daemon: Daemon) -> None:
    journal = daemon.runtime.journal
    journal.add(*(event(f"e{number}", type="odd" if number % 60 == 0 else "even") for number in range(200)))
    journal.limit = 7
    assert ids(daemon, limit=3) == ["e199", "e198", "e197"]
    assert len(ids(daemon, limit=120)) == 120
    assert ids(daemon, type="o*", limit=9) == ["e180", "e120", "e60", "e0"]
    assert ids(daemon, connector="nobody") == []


def test_nothing_older_than_the_last_thousand_is_looked_at(daemon: Daemon) -> None:
    daemon.runtime.journal.add(event("old", type="odd"), *(event(f"e{number}") for number in range(1000)))
    assert ids(daemon, type="odd") == []


def test_what_is_still_there_is_told_once_where_older_entries_are_no_longer_kept(daemon: Daemon) -> None:
    journal = daemon.runtime.journal
    journal.add(*(event(f"e{number}") for number in range(200)))
    del journal.entries[:197]
    assert ids(daemon) == ["e199", "e198", "e197"]


def test_an_empty_journal_has_nothing_to_tell(daemon: Daemon) -> None:
    assert ids(daemon) == []


def test_whoever_is_being_erased_and_what_is_erased_is_not_among_them(daemon: Daemon) -> None:
    daemon.runtime.journal.add(event("kept", identifiers={}), event("concealed"))
    entry = Entry(event("gone", identifiers={}), Fault(ERASED, "erased"))
    daemon.runtime.journal.entries.append(Journaled(Seq(3), entry))
    daemon.runtime.governance.concealed = {("email", "canary-joe@example.com")}
    assert ids(daemon) == ["kept"]


def test_dead_letters_are_counted_by_cause_with_what_the_newest_says(daemon: Daemon) -> None:
    for seq in (2, 3, 4):
        dead(daemon.runtime, seq, code="mapping" if seq < 4 else "other")
    first, second = daemon.client("reader").get("/v1/dead-letters/causes")
    assert (first["connector"], first["type"], first["code"], first["count"]) == ("shop", "order.paid", "mapping", 2)
    assert first["newest"] == 3
    assert first["message"] == "the part {to_number(total)} failed on text"
    assert (second["code"], second["count"]) == ("other", 1)


def test_a_profile_is_also_found_by_its_public_id_and_the_audit_says_so(daemon: Daemon) -> None:
    applied(daemon.runtime)
    assert daemon.client().get("/v1/profile", {"profile": PROFILE})["id"] == PROFILE
    assert daemon.runtime.store.rows[-1].arguments == f'{{"kind": "public id", "profile": "{PROFILE}"}}'
    with pytest.raises(NotFound, match="nobody is known by that public id"):
        daemon.client().get("/v1/profile", {"profile": "email:canary-joe@example.com"})


def test_everybody_is_told_who_they_are_taken_for(daemon: Daemon) -> None:
    assert [daemon.client(who).get("/v1/me")["role"] for who in ("admin", "reader", "stranger")] == ["admin", "reader", "none"]


def test_the_last_reload_is_shown_once_there_was_one(daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="nothing was reloaded"):
        daemon.client("reader").get("/v1/reload")
    row = DifferenceRow(key="http.max_body", before='"1MiB"', after='"2MiB"')
    daemon.runtime.last_reload = LastReload(at=NOW, report=ReloadReport(connectors=[]), differences=[row])
    assert daemon.client("reader").get("/v1/reload")["differences"][0]["key"] == "http.max_body"
    with pytest.raises(Exception, match=r"control\.readers"):
        daemon.client("stranger").get("/v1/reload")
