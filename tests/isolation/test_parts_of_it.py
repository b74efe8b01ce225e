"""What decides within the isolation, without a process: messages, who is kept from what, and what came of a call."""

import os
import tomllib
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.errors import Drop, Forbidden, Reject, RetryLater
from cdmd.extensions import extension
from cdmd.extensions.performing import Came, Failure
from cdmd.hookspecs import hookimpl
from cdmd.isolation.child import _answer, _described
from cdmd.isolation.messages import Answer, Begin, Frames, Junk, Told, decode_from_child, decode_to_child, framed, headers_of
from cdmd.isolation.process import _result
from cdmd.kit.confinement import _around
from cdmd.kit.secret import Secret
from cdmd.plugins import Plugins
from cdmd.plugins.described import Declared, Described
from cdmd.plugins.guarding import Fence
from cdmd.testing import make_event

EVENT = make_event("order.paid", data={"total": 5})


def test_messages_are_whole_however_they_come() -> None:
    sent = [Answer(1, "event", event=EVENT), Told(Described(error="x")), Answer(2, "later", reason="busy", seconds=2.0)]
    stream, frames = b"".join(map(framed, sent)), Frames(1000)
    found = [decode_from_child(one) for at in range(0, len(stream), 7) for one in frames.take(stream[at : at + 7])]
    assert found == sent
    assert [decode_from_child(one) for one in Frames(1000).take(stream)] == sent


def test_what_of_a_failure_may_be_logged_comes_with_it() -> None:
    with pytest.raises(Failure) as raised:
        _result(Answer(7, "failed", reason="no joe", logged="Failed at\nx.py:1"))
    assert (str(raised.value), raised.value.logged) == ("no joe", "Failed at\\x0ax.py:1")


def test_settings_come_as_they_are_in_the_daemon_dates_and_times_included() -> None:
    settings = tomllib.loads(
        "at = 2026-01-31T10:00:00+02:00\nlocal = 2026-01-31T10:00:00.5\ndays = [2026-01-31, 2026-02-01]\n"
        'deep.hour = 10:30:00\ntext = "2026-01-31"\nmost = 5\nrate = 0.5\non = true'
    )
    begin = decode_to_child(framed(Begin(plugin="it", value="it", settings=settings))[4:])
    assert isinstance(begin, Begin)
    assert begin.settings == settings


def test_a_message_that_is_longer_than_any_may_be_is_not_waited_for() -> None:
    frames = Frames(1000)
    assert list(frames.take((66_000).to_bytes(4, "big"))) == []
    with pytest.raises(Junk):
        list(Frames(1000).take((67_000).to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("came", "answer"),
    [
        (Came(), Answer(7, "unchanged")),
        (Came(EVENT), Answer(7, "event", event=EVENT)),
        (Came(failure="KeyError at x.py:1"), Answer(7, "failed", reason="KeyError at x.py:1")),
        (Came(failure="no joe", logged="Failed at x.py:1"), Answer(7, "failed", reason="no joe", logged="Failed at x.py:1")),
        (Came(asked=Drop("no\nline")), Answer(7, "drop", reason="no\\x0aline")),
        (Came(asked=Reject("\ud800")), Answer(7, "reject", reason="\\xd800")),
        (Came(asked=RetryLater(2, "busy")), Answer(7, "later", reason="busy", seconds=2.0)),
    ],
)
def test_what_came_of_a_call_is_said_in_one_line(came: Came, answer: Answer) -> None:
    assert _answer(7, came) == answer
    framed(_answer(7, came))


class Settings(msgspec.Struct):
    url: str
    token: Secret
    most: int = 5


def test_a_plugin_that_is_asked_says_what_it_brings_and_what_is_wrong_with_its_table() -> None:
    """References to secrets are not read."""

    @extension(on="order.*", timeout=2.0)
    async def ask(event: Any, context: Any) -> None: ...

    module = types.SimpleNamespace(cdmd_settings=hookimpl(lambda: Settings), cdmd_extensions=hookimpl(lambda: [ask]))
    table = {"isolate": True, "urll": "x", "token": "file:/nowhere"}
    begin = Begin(plugin="it", value="it", describe=True, settings=table)
    found = _described(Plugins.load([], {}, modules={"it": module}), begin)
    assert found.extensions == (Declared(name="ask", on=("order.*",), timeout=2.0, on_failure="hold"),)
    assert {key: what.partition(" ")[0] for key, what in found.problems} == {
        ("plugins", "it", "urll"): "unknown",
        ("plugins", "it", "url"): "missing",
    }
    assert (found.error, found.defaults, found.others) == (None, {"most": 5}, ())
    assert found.example.startswith("[plugins.it]\nurl = ")
    assert decode_from_child(framed(Told(found))[4:]) == Told(found)


def test_one_that_cannot_be_loaded_says_so() -> None:
    begin = Begin(plugin="gone", value="gone", describe=True)
    assert _described(Plugins.load([], {"gone": {}}), begin).error == "it is configured but not installed"


def test_the_span_of_a_context_is_handed_on_and_that_of_none_is_none() -> None:
    assert headers_of(object()) == {}


@pytest.fixture
def fence(tmp_path: Path) -> tuple[Fence, list[str]]:
    said: list[str] = []
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    return Fence([tmp_path / "state"], package="tests.isolation", daemon=4711, notice=said.append), said


@pytest.mark.parametrize(
    ("event", "arguments", "said"),
    [
        ("os.fork", (), "fork its process"),
        ("os.kill", (4711, 9), "a signal to the daemon"),
        ("os.kill", (-1, 9), "a signal to the daemon"),
        ("os.killpg", (4711, 9), "a signal to the daemon"),
        ("socket.connect", (None, "/run/cdmd/control.sock"), "a local socket"),
        ("open", ("STATE/store.db", "r", 0), "reach store.db"),
        ("open", (b"STATE/store.db", "r", 0), "reach store.db"),
        ("open", ("LINK/key", "r", 0), "reach key"),
        ("os.scandir", ("STATE",), "reach state"),
        ("sqlite3.connect", ("file:STATE/store.db?mode=ro",), "reach store.db"),
        ("os.rename", ("/tmp/mine", "STATE/store.db", -1, -1), "reach store.db"),
    ],
)
def test_nobody_there_reaches_what_is_the_daemons(
    fence: tuple[Fence, list[str]], tmp_path: Path, event: str, arguments: tuple[Any, ...], said: str
) -> None:
    places = {"STATE": str(tmp_path / "state"), "LINK": str(tmp_path / "link")}

    def placed(one: Any) -> Any:
        for name, place in places.items():
            if isinstance(one, str):
                one = one.replace(name, place)
            elif isinstance(one, bytes):
                one = one.replace(name.encode(), place.encode())
        return one

    with pytest.raises(Forbidden, match=said):
        fence[0](event, tuple(map(placed, arguments)))
    assert said in fence[1][0]


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("os.kill", (os.getpid(), 15)),
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("open", ("/etc/hosts", "r", 0)),
        ("open", (7, "r", 0)),
        ("subprocess.Popen", ("/bin/true", [], None, None)),
    ],
)
def test_what_harms_only_itself_it_may_do(fence: tuple[Fence, list[str]], event: str, arguments: tuple[Any, ...]) -> None:
    fence[0](event, arguments)
    assert fence[1] == []


def test_around_what_is_kept_is_all_else_and_no_link(tmp_path: Path) -> None:
    for name in ("a/state/deep", "a/other", "b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "state")
    kept = [tmp_path / "a" / "state"]
    assert sorted(_around(tmp_path, kept)) == [tmp_path / "a" / "other", tmp_path / "b"]
    assert list(_around(tmp_path / "a" / "state" / "deep", kept)) == []
    assert list(_around(tmp_path / "b", kept)) == [tmp_path / "b"]
    assert list(_around(tmp_path / "nowhere", [tmp_path / "nowhere" / "x"])) == []
