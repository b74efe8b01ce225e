"""Why two identifiers are one person, over the control socket."""

import json
from collections.abc import Sequence

import pytest

from cdmd.contracts import ProfileFound
from cdmd.errors import BadArguments, NotFound
from cdmd.models import Activity, IdentifierState, Merge, ProfileKey, ProfileState, Seq
from tests.control.doubles import AT, Daemon, event

JOE, NUMBER, USER = ("email", "canary-joe@example.com"), ("customer_no", "canary-4711"), ("user_id", "canary-u1")
Pair = tuple[str, str]


def person(daemon: Daemon, key: int, *pairs: Pair, merges: Sequence[Merge] = ()) -> None:
    kept = [IdentifierState(*pair, AT, AT, "shop") for pair in pairs]
    state = ProfileState(public=f"p{key}", created=AT, updated=AT, identifiers=kept)
    found = ProfileFound(key=ProfileKey(key), state=state, activities=[], merges=merges)
    daemon.runtime.store.profiles |= dict.fromkeys(pairs, found)


def happened(daemon: Daemon, key: int, rule: str, *pairs: Pair) -> None:
    activities = daemon.runtime.store.membership.activities
    seq = Seq(len(activities) + 1)
    one = event(f"e{seq}", identifiers=dict(pairs))
    activities.append(Activity(seq=seq, profile=ProfileKey(key), time=AT, event=one, rule=rule))


def joined(daemon: Daemon) -> None:
    before = ProfileState(public="p2", created=AT, updated=AT)
    merge = Merge(
        seq=Seq(2), time=AT, winner=ProfileKey(1), loser=ProfileKey(2), identifiers=[JOE], rule="merged on email", before=before
    )
    person(daemon, 1, JOE, NUMBER, USER, merges=[merge])
    happened(daemon, 1, "new", JOE, NUMBER)
    happened(daemon, 1, "merged on email", JOE, USER)


def ask(daemon: Daemon, first: Pair, second: Pair, role: str = "admin") -> dict[str, object]:
    return daemon.client(role).get("/v1/profile/explain", {"first": ":".join(first), "second": ":".join(second)})


def test_one_person_is_explained_by_the_events_that_led_there(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.control.explaining._AT_ONCE", 1)
    joined(daemon)
    found = ask(daemon, NUMBER, USER)
    assert (found["same"], found["summary"], found["complete"]) == (True, "one person, joined by 2 events", True)
    first, second = found["chain"]
    assert (first["from"], first["to"]) == ({"kind": NUMBER[0], "value": NUMBER[1]}, {"kind": JOE[0], "value": JOE[1]})
    assert (first["event"]["id"], first["event"]["rule"], first["event"]["merged"]) == ("e1", "new", [])
    assert (second["event"]["id"], second["event"]["source"], second["event"]["merged"]) == ("e2", "shop", ["p2"])
    assert found["identifiers"][0] == {
        "kind": "customer_no",
        "value": "canary-4711",
        "profile": "p1",
        "first_seen": "2026-11-23T10:00:00.120Z",
        "source": "shop",
    }
    assert ask(daemon, JOE, JOE)["summary"] == "one person: it is the same identifier"


def test_a_reader_sees_the_kinds_and_rules_but_no_value(daemon: Daemon) -> None:
    joined(daemon)
    found = ask(daemon, NUMBER, USER, role="reader")
    assert found["chain"][1]["to"] == {"kind": "user_id", "value": "[redacted]"}
    assert "canary" not in json.dumps(found)
    (row,) = daemon.runtime.store.rows
    assert (row.command, row.user, row.outcome) == ("profile explain", "rea", "done")
    assert json.loads(row.arguments) == {"kinds": ["customer_no", "user_id"], "profiles": ["p1", "p1"]}


def test_two_people_are_explained_by_the_limit_that_kept_them_apart(daemon: Daemon) -> None:
    person(daemon, 1, NUMBER, JOE)
    person(daemon, 2, ("customer_no", "other"))
    happened(daemon, 1, "new", NUMBER, JOE)
    happened(daemon, 2, "new; email given up: limit of customer_no", ("customer_no", "other"), JOE)
    found = ask(daemon, ("customer_no", "other"), JOE)
    assert found["summary"] == "two people: events carried identifiers of both, but email given up: limit of customer_no"
    assert [one["profile"] for one in found["identifiers"]] == ["p2", "p1"]
    (refusal,) = found["refusals"]
    assert (refusal["id"], refusal["refused"]) == ("e2", {"email": "limit of customer_no"})


def test_an_identifier_that_never_got_a_place_is_told_with_the_rule(daemon: Daemon) -> None:
    person(daemon, 1, NUMBER)
    happened(daemon, 1, "matched customer_no; not added: limit of 1000 identifiers", NUMBER, JOE)
    found = ask(daemon, NUMBER, JOE)
    assert found["summary"].endswith("but matched customer_no; not added: limit of 1000 identifiers")
    assert found["identifiers"][1] == {
        "kind": JOE[0], "value": JOE[1], "profile": None, "first_seen": None, "source": None,
    }  # fmt: skip


def test_people_who_were_never_seen_together_are_said_to_be_so(daemon: Daemon) -> None:
    person(daemon, 1, NUMBER)
    person(daemon, 2, JOE)
    assert ask(daemon, NUMBER, JOE)["summary"] == "two people: no event that is kept carried identifiers of both"


def test_a_value_that_identifies_nobody_is_told_with_the_reason(daemon: Daemon) -> None:
    person(daemon, 1, NUMBER)
    for pair, why in [
        (("customer_no", "null"), "its value is blocked"),
        (("email", "none at all"), "it cannot be read as one"),
        (("customer_no", "  "), "there is nothing in it"),
        (("customer_no", "7" * 1001), "it is longer than 1000 characters"),
    ]:
        assert ask(daemon, NUMBER, pair)["summary"] == f"the {pair[0]} identifies nobody: {why}"


def test_one_person_whose_events_are_gone_is_still_one(daemon: Daemon) -> None:
    person(daemon, 1, NUMBER, JOE)
    found = ask(daemon, NUMBER, JOE)
    assert (found["same"], found["chain"]) == (True, [])
    assert found["summary"] == "one person, but the events that led there are no longer kept"


def test_events_are_looked_at_up_to_a_bound_that_is_told(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.control.explaining._AT_ONCE", 1)
    monkeypatch.setattr("cdmd.control.explaining.LOOKED_AT", 1)
    joined(daemon)
    found = ask(daemon, NUMBER, USER)
    assert (found["complete"], found["same"]) == (False, True)


def test_nobody_is_not_found_and_an_unknown_kind_is_refused(daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="nobody is known by that customer_no, nor by that email"):
        ask(daemon, NUMBER, JOE)
    for pair in (("canary", "x"), ("email", "")):
        with pytest.raises(BadArguments, match="write KIND:VALUE twice"):
            ask(daemon, NUMBER, pair)
    assert all("canary" not in row.arguments for row in daemon.runtime.store.rows)
