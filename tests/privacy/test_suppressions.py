"""Whose events go, and what is left of those that only share an identifier with somebody suppressed."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.errors import Overloaded
from cdmd.identity.identifiers import Kinds
from cdmd.models import Entry, Event, Fault
from cdmd.privacy.screening import Pair
from cdmd.privacy.suppressions import Suppressions

JOE = ("email", "joe@example.com")
KINDS = Kinds(
    IdentitySettings(
        identifiers={
            "customer_no": IdentifierSettings(priority=1, limit=1),
            "email": IdentifierSettings(priority=2),
            "email_sha256": IdentifierSettings(priority=3),
        }
    )
)


def event(**identifiers: str) -> Event:
    said: dict[str, Any] = {"traits": {"mail": "JOE@example.com", "name": "Joe"}, "data": {"to": " joe@example.com ", "n": 1}}
    return Event(id="1", source="shop", type="t", received=datetime(2026, 11, 23, tzinfo=UTC), identifiers=identifiers, **said)


def listed(*pairs: Pair, key: bytes = b"k") -> Suppressions:
    made = Suppressions(key=key, naming=lambda: KINDS)
    made.load([made.digest(pair) for pair in pairs])
    return made


def test_an_event_goes_when_its_strongest_identifier_is_on_the_list() -> None:
    suppressions = listed(JOE)
    assert suppressions.screened(Entry(event(email="Joe@Example.com"))) is None
    other = Entry(event(email="ann@example.com"))
    assert suppressions.screened(other) is other
    unnamed = Entry(event())
    assert suppressions.screened(unnamed) is unnamed


def test_a_weaker_identifier_is_taken_out_wherever_the_event_says_it() -> None:
    kept = listed(JOE).screened(Entry(event(customer_no="4711", email="JOE@example.com")))
    assert kept is not None
    assert kept.event.identifiers == {"customer_no": "4711"}
    assert kept.event.traits == {"name": "Joe"}
    assert kept.event.data == {"n": 1}


def test_it_is_taken_out_however_deep_the_event_says_it_and_in_whatever_text() -> None:
    deep: Any = "joe@example.com"
    for _ in range(500):
        deep = [deep]
    said = {
        "who": {"mail": "Joe@Example.com", "n": None, "no": 471100},
        "all": ["joe@example.com", True, 2],
        "to": "ask joe@example.com",
    }
    one = msgspec.structs.replace(
        event(customer_no="4711", email="joe@example.com"), data={**said, "joe@example.com": 1, "deep": deep}
    )
    kept = listed(JOE, ("customer_no", "471100")).screened(Entry(one))
    assert kept is not None
    assert {**kept.event.data, "deep": None} == {"who": {"n": None}, "all": [True, 2], "deep": None}
    assert "joe" not in str(kept.event.data)
    other = {"n": 4711, "deep": {"to": ["ann@example.com"]}}
    kept = listed(JOE).screened(Entry(msgspec.structs.replace(one, data=other)))
    assert kept is not None
    assert kept.event.data == other


def test_a_digest_and_what_it_is_of_are_the_same_person() -> None:
    digest = ("email_sha256", sha256(b"joe@example.com").hexdigest())
    assert listed(digest).screened(Entry(event(email="joe@example.com"))) is None
    assert listed(digest).screened(Entry(event(email_sha256=digest[1]))) is None
    assert listed(("email_sha256", "0" * 64)).holds(JOE) is False


def test_kinds_of_digests_that_are_configured_later_know_whoever_is_listed() -> None:
    settings = {"email": IdentifierSettings(priority=2), "phone": IdentifierSettings(priority=3, region="SE")}
    before = Kinds(IdentitySettings(identifiers=settings))
    hashed = {"mail_hash": IdentifierSettings(hashed="email"), "tel_hash": IdentifierSettings(hashed="phone")}
    later = Kinds(IdentitySettings(identifiers={**settings, **hashed, "customer_no": IdentifierSettings(priority=1)}))
    mail, tel = sha256(b"joe@example.com").hexdigest(), sha256(b"46701234567").hexdigest()
    suppressions = Suppressions(key=b"k", naming=lambda: later)

    def put(*pairs: Pair, naming: Kinds) -> None:
        suppressions.load([digest for pair in pairs for digest in suppressions.digests(pair, naming)])

    put(JOE, ("phone", "+46701234567"), naming=before)
    assert suppressions.screened(Entry(event(mail_hash=mail.upper()))) is None
    assert suppressions.screened(Entry(event(tel_hash=tel))) is None
    assert not suppressions.holds(("mail_hash", sha256(b"ann@example.com").hexdigest()))
    assert not suppressions.holds(("tel_hash", mail)), "what is somebody's address is nobody's number"
    put(("mail_hash", mail), naming=later)
    suppressions._naming = lambda: KINDS
    assert suppressions.holds(JOE), "whichever kind it came as"
    assert suppressions.holds(("email_sha256", mail))


def test_of_a_record_that_could_not_be_mapped_nothing_is_kept_where_a_text_in_it_is_on_the_list() -> None:
    fault = Fault("null", "no id")
    suppressions = listed(JOE)
    about = Entry(event(), fault, b'{"deep":[{"mail":"Joe@example.com"}],"n":471100,"ok":true}')
    assert suppressions.screened(about) is None
    for raw in (b'{"mail":"ann@example.com"}', b"\xffjoe@example.com", b""):
        other = Entry(event(), fault, raw)
        assert suppressions.screened(other) is other
    assert listed(("customer_no", "471100")).screened(about) is None


def test_the_list_names_nobody_and_another_key_makes_another_list() -> None:
    digest = listed().digest(JOE)
    assert len(digest) == 16
    assert b"joe" not in digest
    assert listed(key=b"x").digest(JOE) != digest


def test_nobody_passes_before_the_list_was_read() -> None:
    unread = Suppressions(key=b"k", naming=lambda: KINDS)
    assert unread.version != 0
    assert len(unread) == 0
    with pytest.raises(Overloaded, match="not read yet"):
        unread.screened(Entry(event(email="ann@example.com")))


def test_every_change_makes_another_version_and_an_empty_list_is_none() -> None:
    suppressions = listed()
    assert suppressions.version == 0
    suppressions.change(added=[suppressions.digest(JOE)])
    first = suppressions.version
    suppressions.change(added=[suppressions.digest(("email", "ann@example.com"))])
    assert 0 < first < suppressions.version
    assert len(suppressions) == 2
    suppressions.change(removed=[suppressions.digest(JOE)])
    assert not suppressions.holds(JOE)
    assert len(suppressions) == 1
