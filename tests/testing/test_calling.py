"""An extension called once, as the daemon would."""

from typing import Any

import msgspec
import pytest

import cdmd
from cdmd.testing import FakeApi, ManualClock, call_extension, make_event

pytest_plugins = ["cdmd.testing.fixtures"]
EVENT = make_event("order.paid", data={"total": 5})


def declared(function: Any, **named: Any) -> cdmd.Extension:
    return cdmd.extension(**{"on": "order.*", "timeout": 0.2, **named})(function)


def raising(error: Exception) -> Any:
    async def function(event: cdmd.Event, context: cdmd.Context) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "outcome", "then"),
    [
        (lambda event, context: event.enriched(a=context.settings["a"]), "extended", "stored"),
        (lambda event, context: None, "unchanged", "stored"),
        (lambda event, context: 5, "failed: returned int instead of an event or None", "held"),
        (raising(cdmd.Drop()), "dropped", "filtered"),
        (raising(cdmd.Reject("odd")), "rejected", "dead"),
        (raising(cdmd.RetryLater(5)), "later", "held"),
    ],
)
def test_what_came_of_it_is_said_in_the_daemons_words(function: Any, outcome: str, then: str) -> None:
    called = call_extension(declared(function), EVENT, {"a": 1})
    assert (called.outcome, called.then) == (outcome, then)
    assert called.event.data == ({"total": 5, "a": 1} if outcome == "extended" else {"total": 5})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    key: cdmd.Secret
    level: int = 3


def test_a_table_is_what_the_daemon_would_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where settings were handed through: the reference as it stood, no default, no mistake."""
    monkeypatch.setenv("LOYALTY_KEY", "k3y")
    seen: list[Any] = []
    told = declared(lambda event, context: seen.append(dict(context.settings)))
    call_extension(told, EVENT, {"key": "env:LOYALTY_KEY"}, declared=Settings)
    call_extension(told, EVENT, {"key": "env:LOYALTY_KEY"})
    assert seen == [{"key": "k3y", "level": 3}, {"key": "k3y"}]
    with pytest.raises(cdmd.ConfigInvalid) as mistakes:
        call_extension(told, EVENT, {"lvl": "high", "key": "env:NOBODY_SET_THIS"}, declared=Settings)
    assert len(mistakes.value.problems) == 2, mistakes.value.problems


def test_an_event_of_another_type_is_not_for_it() -> None:
    called = call_extension(declared(lambda event, context: 5, on="tv.*"), EVENT)
    assert called.outcome == "not called: its types are others"


def test_its_deadline_and_its_clock_are_kept() -> None:
    def told(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
        return event.enriched(now=context.now.isoformat())

    clock = ManualClock()
    assert call_extension(declared(told), EVENT, clock=clock).event.data["now"] == clock.now().isoformat()


@pytest.mark.parametrize(
    ("fails", "said"),
    [(401, "HTTPStatusError 401 at "), (0, "RequestFailed (the other side broke off or does not speak HTTP) at ")],
)
def test_what_an_answer_was_and_what_our_client_says_of_it_is_shown(fake_api: FakeApi, fails: int, said: str) -> None:
    async def asks(event: cdmd.Event, context: cdmd.Context) -> None:
        (await context.http.get(f"{context.settings['url']}/members/4711")).raise_for_status()

    fake_api.fails(fails)
    called = call_extension(declared(asks, timeout=5.0), EVENT, {"url": fake_api.url})
    assert called.outcome.startswith(f"failed: {said}tests/testing/test_calling.py:")
    assert "4711" not in called.outcome


def test_what_a_plugin_says_in_our_name_and_an_address_out_of_data_are_not_shown() -> None:
    async def asks(event: cdmd.Event, context: cdmd.Context) -> None:
        await context.http.get("http://joe.example:99/")

    said = call_extension(declared(raising(cdmd.RequestFailed("joe@example.com"))), EVENT, {}).outcome
    assert said.startswith("failed: RequestFailed at ")
    said = call_extension(declared(asks), EVENT, {}).outcome
    assert said.startswith("failed: AddressRefused (no address that its settings name, or one that is not allowed) at ")
