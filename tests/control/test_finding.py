"""Finding customers over the control socket."""

import json

import pytest

from cdmd.errors import BadArguments, NotPermitted
from cdmd.models import IdentifierState, ProfileKey, ProfileState, TraitState
from tests.control.doubles import AT, Daemon
from tests.control.test_explaining import JOE, NUMBER, person


def found(daemon: Daemon, role: str = "admin", **query: object) -> dict[str, object]:
    return daemon.client(role).get("/v1/profiles", query)


def names(page: dict[str, object]) -> list[str]:
    return [row["profile"] for row in page["profiles"]]


@pytest.fixture
def three(daemon: Daemon) -> Daemon:
    person(daemon, 1, JOE, NUMBER)
    person(daemon, 2, ("email", "canary-jane@example.com"), ("phone", "+46701234567"))
    person(daemon, 3, ("user_id", NUMBER[1]))
    return daemon


def test_a_whole_value_is_found_in_any_kind_and_a_kind_narrows_it(three: Daemon) -> None:
    assert names(found(three, text=NUMBER[1])) == ["p3", "p1"]
    assert names(found(three, text=":".join(NUMBER))) == ["p1"]
    assert names(found(three, text=" Canary-JOE@Example.com ")) == ["p1"]
    assert names(found(three, text="email:nobody@example.com")) == []


def test_a_public_id_is_found(three: Daemon) -> None:
    (row,) = found(three, text="p2")["profiles"]
    assert row["identifiers"][0] == {"kind": "email", "value": "canary-jane@example.com"}
    assert row["created"] == "2026-11-23T10:00:00.120Z"


def test_a_beginning_is_found_in_pages_over_all_kinds_each_person_once_a_page(three: Daemon) -> None:
    whole = found(three, text="canary*")
    assert (sorted(names(whole)), whole["next"]) == (["p1", "p2", "p3"], None)
    met, after = [], None
    while True:
        page = found(three, text="canary*", limit=1, **({"after": after} if after else {}))
        met += names(page)
        after = page["next"]
        if after is None:
            break
    assert sorted(set(met)) == ["p1", "p2", "p3"]
    assert names(found(three, text="email:Canary-Ja*")) == ["p2"]
    assert names(found(three, text="phone:+4670*")) == ["p2"]


def test_readers_find_whom_they_can_name_without_a_value(three: Daemon) -> None:
    page = found(three, role="reader", text=":".join(JOE))
    assert names(page) == ["p1"]
    assert "canary" not in json.dumps(page)
    for query in ({"text": "canary*"}, {"trait": "city=Lund"}):
        with pytest.raises(NotPermitted):
            found(three, role="reader", **query)
    rows = three.runtime.store.rows
    assert [row.outcome for row in rows] == ["done", "refused", "refused"]
    assert all("canary" not in row.arguments for row in rows)
    assert json.loads(rows[0].arguments) == {"by": "name", "count": 1}


def test_a_trait_is_found_over_all_profiles_in_pages(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.control.finding._AT_ONCE", 2)
    monkeypatch.setattr("cdmd.control.finding.LOOKED_AT", 4)
    for number in range(1, 8):
        traits = {"vip": TraitState(number % 2 == 0, AT, 1), "city": TraitState("Lund", AT, 1)}
        kept = [IdentifierState("email", f"{number}@example.com", AT, AT, "shop", number == 1)]
        state = ProfileState(f"p{number}", AT, AT, kept, traits=traits, merged_into=1 if number == 4 else None)
        daemon.runtime.store.membership.people.append((ProfileKey(number), state))
    first = found(daemon, trait="vip=TRUE")
    assert (names(first), first["next"], first["looked_at"]) == (["p2"], "5", 4)
    last = found(daemon, trait="vip=true", after=first["next"])
    assert (names(last), last["next"], last["looked_at"]) == (["p6"], None, 2)
    assert (names(found(daemon, trait="city=lund", limit=2))) == ["p1", "p2"]
    assert found(daemon, trait="city=lund", limit=1)["profiles"][0]["identifiers"] == [], "a digest did not arrive itself"
    assert names(found(daemon, trait="none=lund", limit=1)) == []


def test_what_says_nothing_is_refused(daemon: Daemon) -> None:
    for text in ("*", "email:", "email: *"):
        with pytest.raises(BadArguments, match="write a public id"):
            found(daemon, text=text)
    for query in ({"trait": "city"}, {"trait": "=x"}):
        with pytest.raises(BadArguments, match="write --trait NAME=VALUE"):
            found(daemon, **query)
    with pytest.raises(BadArguments, match="the query needs text"):
        found(daemon)


@pytest.mark.parametrize("after", ["\u00b2", "9" * 30, "x"])
def test_a_page_goes_on_only_where_one_ended(three: Daemon, after: str) -> None:
    with pytest.raises(BadArguments, match="what the page before this one calls next"):
        found(three, trait="name=x", after=after)
