import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from typing_extensions import override

from cdmd.contracts import Shelf, Source
from cdmd.daemon import shelves
from cdmd.daemon.shelves import Shelves, only
from cdmd.errors import BadArguments, CdmdError, NotFound
from cdmd.testing import DaemonProcess

pytestmark = pytest.mark.anyio


class Showing:
    """A plugin's connector with a shelf; ``mode`` says how it answers."""

    shelves = (Shelf(kind="runs", commands=("approve",)),)

    def __init__(self, mode: str = "well") -> None:
        self.mode, self.told = mode, []  # type: ignore[var-annotated]

    async def rows(self, kind: str, source: Source, *, state: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        if self.mode == "raises":
            raise KeyError("joe@example.com")
        if self.mode == "hangs":
            await anyio.sleep_forever()
        if self.mode == "refuses":
            raise BadArguments("there is no such state")
        return [{"name": "one", "state": state or "held"}][:limit]

    async def command(self, kind: str, command: str, source: Source, *, names: Sequence[str]) -> int:
        self.told.append((command, *names))
        return len(names)


class Some:
    """Connectors by name; ``pokes`` are those that were woken."""

    def __init__(self, **connectors: Any) -> None:
        self.connectors, self.pokes = connectors, []  # type: ignore[var-annotated]

    def __iter__(self) -> Iterator[Any]:
        for name, connector in self.connectors.items():
            source = SimpleNamespace(poke=lambda name=name: self.pokes.append(name))
            yield SimpleNamespace(config=SimpleNamespace(name=name), connector=connector, source=source)

    def here(self, name: str) -> Any:
        if name == "away":
            raise BadArguments("away is fetched by the node n2: give the command there")
        return next(live for live in self if live.config.name == name)

    def desk(self, live: Any) -> Any:
        return None


async def test_rows_of_every_connector_that_offers_the_kind_bear_its_name() -> None:
    of = Shelves(lambda: Some(a=Showing(), b=object(), c=Showing()))
    assert await of.rows("runs", connector=None, state=None, limit=10) == [
        {"connector": "a", "name": "one", "state": "held"},
        {"connector": "c", "name": "one", "state": "held"},
    ]
    assert len(await of.rows("runs", connector="c", state="new", limit=10)) == 1
    assert await of.rows("files", connector=None, state=None, limit=10) == []
    with pytest.raises(NotFound, match="no connector 'b' that has runs"):
        await of.rows("runs", connector="b", state=None, limit=10)


def test_where_one_connector_has_rows_of_a_kind_nobody_has_to_name_it() -> None:
    some = Some(a=Showing(), b=object())
    assert (only(some, "runs"), only(some, "files"), only(some, None)) == ("a", None, None)
    assert only(Some(a=Showing(), c=Showing()), "runs") is None


async def test_a_command_needs_to_know_whose_it_is_and_wakes_who_was_told() -> None:
    some = Some(a=Showing(), b=Showing())
    of = Shelves(lambda: some)
    assert await of.command("runs", "approve", connector="b", names=["one"]) == ("b", 1)
    assert (some.connectors["b"].told, some.pokes) == ([("approve", "one")], ["b"])
    with pytest.raises(BadArguments, match="say which connector: a, b"):
        await of.command("runs", "approve", connector=None, names=["one"])
    with pytest.raises(BadArguments, match="can be told to: approve"):
        await of.command("runs", "burn", connector="a", names=["one"])
    with pytest.raises(BadArguments, match="away is fetched by the node n2"):
        await Shelves(lambda: Some(away=Showing())).command("runs", "approve", connector=None, names=["one"])
    with pytest.raises(NotFound, match="no connector has files"):
        await of.command("files", "retry", connector=None, names=["one"])


@pytest.mark.parametrize(("mode", "said"), [("raises", "it raised KeyError"), ("hangs", "longer than 0.1 s")])
async def test_a_connector_that_fails_to_answer_is_named_without_its_words(
    mode: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "_PATIENCE", 0.1)
    with pytest.raises(CdmdError, match=said) as caught:
        await Shelves(lambda: Some(a=Showing(mode))).rows("runs", connector=None, state=None, limit=10)
    assert "joe" not in str(caught.value)
    with pytest.raises(BadArguments, match="no such state"):
        await Shelves(lambda: Some(a=Showing("refuses"))).rows("runs", connector=None, state=None, limit=10)


async def test_a_command_may_take_longer_than_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Showing):
        @override
        async def command(self, kind: str, command: str, source: Source, *, names: Sequence[str]) -> int:
            await anyio.sleep(0.02)
            return await super().command(kind, command, source, names=names)

    monkeypatch.setattr(shelves, "_PATIENCE", 0.0)
    assert await Shelves(lambda: Some(a=Slow())).command("runs", "approve", connector=None, names=["one"]) == ("a", 1)


CONFIG = """
[connectors.sup]
type = "folder"
path = "{area}"
format = {{ type = "jsonl" }}
stable_for = "0s"
every = "1s"
[connectors.sup.event]
type = "customer.seen"
identifiers = {{ email = "{{email}}" }}
"""


@pytest.mark.acceptance
def test_files_are_listed_and_told_over_the_control_socket_also_while_their_connector_is_paused(tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "bad\n.jsonl").write_text("{oops\n")
    (area / "good.jsonl").write_text('{"email": "joe@example.com"}\n')
    with DaemonProcess(tmp_path, CONFIG.format(area=area)) as one:
        until(lambda: shown(one) == {r"bad\x0a.jsonl": "quarantined", "good.jsonl": "done"})
        listed = one.cdmctl("files", "list", "--state", "quarantined").stdout
        assert r"bad\x0a.jsonl" in listed
        assert "1 of 1 records cannot be read, the first one at line 1" in listed
        assert "joe@example.com" not in one.cdmctl("files").stdout
        one.cdmctl("pause", "sup")
        assert "retry sup: 1" in one.cdmctl("files", "retry", r"bad\x0a.jsonl").stderr
        assert one.cdmctl("files", "skip", r"bad\x0a.jsonl").returncode == 0
        assert shown(one)[r"bad\x0a.jsonl"] == "skipped"
        gone = one.cdmctl("files", "retry", "nowhere.jsonl", check=False)
        assert (gone.returncode, "there is no file nowhere.jsonl" in gone.stderr) == (4, True)
        assert [row["command"] for row in one.ask("audit")] == ["files retry", "files skip", "files retry", "pause"]


def shown(one: DaemonProcess) -> dict[str, str]:
    return {row["name"]: row["state"] for row in one.ask("files", "list")}


def until(holds: Any) -> None:
    end = monotonic() + 30
    while not holds():
        if monotonic() > end:
            raise TimeoutError
        threading.Event().wait(0.1)
