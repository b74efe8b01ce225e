"""Undoing a merge over the control socket: who may, what is shown, what is audited."""

from typing import Any

import pytest

from cdmd.contracts import ProfileFound
from cdmd.errors import BadArguments, NotPermitted
from cdmd.models import IdentifierState, ProfileKey, ProfileState
from tests.control.doubles import AT, PROFILE, Daemon
from tests.control.test_explaining import JOE, USER, ask

SAID = {"first": "email: Canary-Joe@Example.com", "second": "user_id:canary-u1"}


def split(daemon: Daemon, role: str = "admin", **said: Any) -> Any:
    return daemon.client(role).post("/v1/profile/split", {**SAID, **said})


def test_it_is_shown_first_and_done_when_told(daemon: Daemon) -> None:
    shown = split(daemon)
    assert (shown["applied"], [side["profile"] for side in shown["sides"]], shown["contested"]) == (False, [PROFILE, None], 2)
    assert split(daemon, apply=True)["applied"]
    assert split(daemon, lift=True)["summary"] == "it was lifted"
    assert daemon.runtime.splits == [(JOE, USER, "try"), (JOE, USER, "split"), (JOE, USER, "lift")]
    assert [row.command for row in daemon.runtime.store.rows] == [
        "profile split --dry-run",
        "profile split",
        "profile split --lift",
    ]
    assert all("canary" not in row.arguments for row in daemon.runtime.store.rows)
    assert PROFILE in daemon.runtime.store.rows[1].arguments


@pytest.mark.parametrize("how", [{}, {"apply": True}, {"lift": True}])
def test_readers_may_not(daemon: Daemon, how: dict[str, bool]) -> None:
    with pytest.raises(NotPermitted):
        split(daemon, "reader", **how)
    assert daemon.runtime.splits == []
    assert daemon.runtime.store.rows[-1].outcome == "refused"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("canary", "write KIND:VALUE twice"),
        ("email:", "write KIND:VALUE twice"),
        ("canary:x", "where KIND is one of user_id"),
        ("email:nobody", "the email identifies nobody: it cannot be read as one"),
        ("email:test@test", "the email identifies nobody: its value is blocked"),
    ],
)
def test_what_is_no_identifier_is_refused(daemon: Daemon, first: str, why: str) -> None:
    with pytest.raises(BadArguments, match=why):
        split(daemon, first=first)
    assert daemon.runtime.splits == []
    assert "canary" not in daemon.runtime.store.rows[-1].arguments


def test_an_explanation_says_that_they_were_split(daemon: Daemon) -> None:
    one, other = map(daemon.runtime.kinds.splits.digest, (JOE, USER))
    for key, pair, apart in ((1, JOE, (one, other)), (2, USER, (other, one))):
        kept = [IdentifierState(*pair, AT, AT, "shop")]
        state = ProfileState(public=f"p{key}", created=AT, updated=AT, identifiers=kept, apart=[apart])
        daemon.runtime.store.profiles[pair] = ProfileFound(key=ProfileKey(key), state=state, activities=[], merges=[])
    assert ask(daemon, JOE, USER)["summary"] == "two people, kept apart by a split for good"
