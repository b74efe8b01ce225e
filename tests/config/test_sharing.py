"""``[journal]``: what it refuses where it names servers, and where it does not."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from cdmd.config.sharing import JournalSettings
from cdmd.daemon.sharing import shared_journal
from cdmd.kit.clock import SystemClock
from cdmd.kit.secret import Secret

SECRET = Secret(b"s", reference="env:S")
HERE = "nats://n1.example:4222"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"url": "n1:4222"}, "write nats://HOST:PORT"),
        ({"url": ""}, "write nats://HOST:PORT"),
        ({"url": "nats://n1"}, "write nats://HOST:PORT"),
        ({"url": "nats://n1:x"}, "write nats://HOST:PORT"),
        ({"url": f"{HERE},http://n2:4222"}, "has 'http://n2:4222'"),
        ({"url": "nats://me:secret@n1:4222"}, "holds a login"),
        ({"url": HERE, "name": "a b"}, "`name` takes letters"),
        ({"url": HERE, "name": ""}, "`name` takes letters"),
        ({"url": HERE, "replicas": 6}, "at most 5"),
        ({"url": HERE, "username": "u"}, "go together"),
        ({"url": HERE, "process": "own"}, 'process = "own"` goes with a journal in the state directory'),
        ({"replicas": 3}, "`replicas` goes with `url`"),
        ({"token": SECRET}, "`token` goes with `url`"),
    ],
)
def test_what_it_cannot_mean_is_a_mistake(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        JournalSettings(**keys)


def test_servers_are_listed_with_commas() -> None:
    assert JournalSettings(url=f"{HERE}, tls://n2.example:4222").servers == (HERE, "tls://n2.example:4222")
    assert JournalSettings().servers == ()


def test_without_the_client_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'cdmd\[cluster\]'"):
        JournalSettings(url=HERE)


def test_a_mistake_names_its_file_and_table(mistakes: Callable[[str], list[str]]) -> None:
    (found,) = mistakes('[journal]\nurl = "nats://me:secret@n1:4222"\n')
    assert found == "cdmd.toml: journal: `url` holds a login: write `username` and `password`, or `token`, instead"
    assert "secret" not in found


def test_a_journal_without_servers_lies_here() -> None:
    assert shared_journal(JournalSettings(), holder="a", clock=SystemClock(), new_id=lambda: "1", follows=False) is None
