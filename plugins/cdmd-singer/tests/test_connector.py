"""The connector against a real process that behaves well or badly, with a source in memory."""

import ast
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from cdmd_singer import Singer, SingerSettings
from cdmd_singer.settings import StreamSettings
from typing_extensions import override

import cdmd
from cdmd.testing import RecordingSource

HERE = Path(__file__).parent
COMMAND = (sys.executable, str(HERE / "tap.py"))
DATA = StreamSettings(event=cdmd.EventSettings(type="contact", data={"n": "{n}"}))
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def record(n: int, stream: str = "contacts", **more: Any) -> list[Any]:
    return ["say", {"type": "RECORD", "stream": stream, "record": {"n": n, **more}}]


def state(n: int) -> list[Any]:
    return ["say", {"type": "STATE", "value": {"n": n}}]


def tap(*steps: list[Any], config: Mapping[str, Any] = {}, **settings: Any) -> Singer:
    given = {"command": COMMAND, "streams": {"contacts": DATA}, "timeout": cdmd.Duration.parse("20s"), **settings}
    return Singer("crm", SingerSettings(config={"steps": steps, **config}, **given))


class Keeping(RecordingSource):
    """A source that remembers every emit, does ``before`` it, and fails from the ``dies``th on, as a full disk would."""

    def __init__(self, folder: Path, *, before: Callable[[], Any] | None = None, dies: int | None = None) -> None:
        self.emits: list[tuple[list[Any], dict[str, Any] | None]] = []
        self._before, self._dies = before, dies
        super().__init__("crm", scratch=folder, streams=tap().streams)

    @override
    async def emit(self, records: Sequence[cdmd.Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Any]:
        if self._before is not None:
            await self._before()
        if self._dies is not None and len(self.emits) + 1 >= self._dies:
            raise OSError("no space")
        value = state.get(b"state")
        self.emits.append(([one.value.get("n") for one in records], None if value is None else json.loads(value)))
        return await super().emit(records, state=state)

    @property
    def numbers(self) -> list[Any]:
        return [event.data["n"] for event in self.events]


async def test_records_become_events_of_their_stream_and_the_last_state_is_kept(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    steps = [["say", {"type": "SCHEMA", "stream": "contacts", "schema": {}, "key_properties": ["n"]}], record(1), state(1)]
    assert await tap(*steps, record(2), state(2)).once(source) is None
    assert [(event.source, event.type, event.data) for event in source.events] == [
        ("crm.contacts", "contact", {"n": 1}), ("crm.contacts", "contact", {"n": 2})
    ]  # fmt: skip
    assert source.state == {b"state": b'{"n": 2}'}
    assert len({event.id for event in source.events}) == 2


async def test_a_tap_that_tells_a_record_again_names_it_the_same(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    await tap(record(1), record(1), record(1, note="new")).once(source)
    first, second, third = [event.id for event in source.events]
    assert first == second != third


async def test_the_next_run_gets_the_state_as_it_came(tmp_path: Path) -> None:
    source, seen = Keeping(tmp_path), tmp_path / "seen"
    connector = tap(["raw", '{"type":"state","value":{"b":1.50,"a":[null]}}\n'], config={"seen": str(seen)})
    await connector.once(source)
    assert json.loads(seen.read_text())["state"] is None
    await connector.once(source)
    assert json.loads(seen.read_text())["state"] == {"b": 1.5, "a": [None]}
    assert source.state == {b"state": b'{"b":1.50,"a":[null]}'}


async def test_a_state_is_stored_with_the_records_before_it_and_never_ahead_of_them(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    await tap(config={"numbers": {"to": 3000, "every": 7, "pad": 0, "pause": 0}}).once(source)
    stored = 0
    for numbers, value in source.emits:
        stored += len(numbers)
        assert value is None or value["n"] <= stored
    assert (source.numbers, source.emits[-1][1]) == ([*range(1, 3001)], {"n": 3000})
    assert len(source.emits) < 20, "states are not stored one by one"


@pytest.mark.parametrize("dies", [1, 2, 4])
async def test_what_could_not_be_stored_is_asked_for_again(tmp_path: Path, dies: int) -> None:
    source = Keeping(tmp_path, dies=dies)
    connector = tap(config={"numbers": {"to": 3000, "every": 7, "pad": 0, "pause": 0}})
    with pytest.raises(OSError, match="no space"):
        await connector.once(source)
    known = json.loads(source.state.get(b"state", b'{"n":0}'))["n"]
    assert known <= len(source.numbers) < 3000
    source._dies = None
    await connector.once(source)
    assert sorted(set(source.numbers)) == [*range(1, 3001)]


async def test_a_tap_that_crashes_behind_a_record_loses_nothing_and_tells_only_its_status(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    connector = tap(record(1), state(1), record(2), ["log", "token=s3cret"], ["raw", '{"type": "REC'], ["exit", 3])
    with pytest.raises(cdmd.SourceUnavailable) as failed:
        await connector.once(source)
    assert str(failed.value) == "the tap ended with status 3; records before that: 2"
    assert (source.numbers, source.state, source.refused) == ([1, 2], {b"state": b'{"n": 1}'}, {"line_cut_off": 1})


async def test_a_tap_that_ends_well_may_leave_out_the_last_lines_end(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    await tap(["raw", '{"type": "RECORD", "stream": "contacts", "record": {"n": 1}}']).once(source)
    assert source.numbers == [1]


async def test_lines_that_are_no_messages_are_set_aside_and_the_others_taken(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    bad = ["hello", "[1]", '{"type":"RECORD"}', '{"type":"RECORD","stream":"contacts","record":7}', '{"type":"STATE"}', "\x00"]
    await tap(record(1), *(["raw", f"{line}\n"] for line in bad), ["raw", "\n"], record(2), state(2)).once(source)
    assert (source.numbers, source.state) == ([1, 2], {b"state": b'{"n": 2}'})
    assert [fault.code for _, fault in source.faults] == ["not_singer"] * 6
    assert source.refused == {"not_singer": 6}


async def test_a_flood_of_lines_that_are_no_messages_stops_the_run_before_its_state(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    with pytest.raises(cdmd.SourceBlocked, match=r"more than 1000 lines of the tap are set aside \(not_singer\)"):
        await tap(record(1), ["raw", "hello\n" * 5000], record(2), state(2)).once(source)
    assert (source.numbers, source.state, len(source.faults)) == ([1], {}, 999)
    assert source.refused == {"not_singer": 1001}


async def test_a_line_that_is_too_long_is_set_aside_and_the_next_one_taken(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    await tap(record(1, note="." * 5000), record(2), max_line=cdmd.Size.parse("4KiB")).once(source)
    assert (source.numbers, [fault.code for _, fault in source.faults]) == ([2], ["line_too_long"])


async def test_an_endless_line_is_silence(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    with pytest.raises(cdmd.SourceUnavailable, match=r"wrote no whole line for 1 s and was ended"):
        await tap(record(1), state(1), ["raw", ""], ["endless"], timeout=cdmd.Duration.parse("1s")).once(source)
    assert (source.numbers, source.state) == ([1], {b"state": b'{"n": 1}'})


async def test_a_tap_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    source, pids = Keeping(tmp_path), tmp_path / "pids"
    with pytest.raises(cdmd.SourceUnavailable, match="wrote no whole line"):
        await tap(record(1), state(1), ["hang", str(pids)], timeout=cdmd.Duration.parse("2s")).once(source)
    assert source.state == {b"state": b'{"n": 1}'}
    await gone(pids)


async def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    source, endless = Keeping(tmp_path), {"to": 10**9, "every": 10, "pad": 9, "pause": 0}
    connector = tap(config={"numbers": endless}, discover=False, max_run=cdmd.Duration.parse("2s"))
    with pytest.raises(cdmd.SourceUnavailable, match=r"longer than 2s \(max_run\)"):
        await connector.once(source)
    assert source.numbers[:2] == [1, 2]


async def test_a_connector_that_is_stopped_leaves_no_process_behind(tmp_path: Path) -> None:
    source, pids = Keeping(tmp_path), tmp_path / "pids"
    async with anyio.create_task_group() as group:
        group.start_soon(tap(["hang", str(pids)]).run, source)
        await until(pids.exists)
        group.cancel_scope.cancel()
    await gone(pids)


async def gone(pids: Path) -> None:
    """Every process in the file has ended (one that nobody collects yet is a zombie)."""
    await until(lambda: not any(map(alive, pids.read_text().split())))


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while True:
            if holds():
                return
            await anyio.sleep(0.02)


def alive(pid: str) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_tap_is_read_no_faster_than_its_records_are_stored(tmp_path: Path) -> None:
    report = tmp_path / "report"
    ahead = list[int]()

    async def stand_still() -> None:
        """Returns once the tap writes no more; notes how far it is ahead of what was handed over."""
        before = -1
        while before != (now := int(await anyio.Path(report).read_text() or before)):
            before = now
            await anyio.sleep(0.1)
        ahead.append(now - sum(len(numbers) for numbers, _ in source.emits) * 10_000)

    source = Keeping(tmp_path, before=stand_still)
    await tap(["flood", str(report), {"count": 1000, "size": 10_000 - 78}], discover=False).once(source)
    assert len(source.numbers) == 1000
    assert max(ahead) < 2**20 + 5 * 2**16, "what is stored at once, the pipe, and what is read of it at a time"


async def test_a_tap_that_takes_too_much_memory_fails_alone(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    with pytest.raises(cdmd.SourceUnavailable, match="status 1; records before that: 1"):
        await tap(record(1), ["take", 2**29], memory=cdmd.Size.parse("256MiB")).once(source)
    assert source.numbers == [1]


async def test_other_messages_and_streams_change_nothing_and_are_counted_where_nobody_knows_them(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    version = ["say", {"type": "ACTIVATE_VERSION", "stream": "contacts", "version": 7}]
    await tap(version, ["say", {"type": "NEWS"}], record(1, "orders"), record(2)).once(source)
    assert (source.numbers, source.refused) == ([2], {"unknown_message": 1, "stream_not_wanted": 1})


async def test_batches_are_never_read_past(tmp_path: Path) -> None:
    source = Keeping(tmp_path)
    with pytest.raises(cdmd.SourceBlocked, match="BATCH"):
        await tap(record(1), ["say", {"type": "BATCH", "stream": "contacts"}], state(9)).once(source)
    assert b"state" not in source.state


@pytest.mark.parametrize("tag", ["stream", "endpoint"])
async def test_fewer_records_than_the_tap_counted_are_told(tmp_path: Path, tag: str) -> None:
    source = Keeping(tmp_path)
    counts = [
        [
            "log",
            f'INFO METRIC: {{"metric": "record_count", "value": {n}, "tags": {{"{tag}": "contacts", "context": {{"a": 1}}}}}}',
        ]
        for n in (2, 1)
    ]
    noise = [["log", "METRIC: {"], ["log", 'METRIC: {"metric": "http_request_count", "value": 50}']]
    said = await tap(record(1), record(2), *counts, *noise).once(source)
    assert said == "the tap counted 3 records of contacts, 2 came"
    assert await tap(record(1), record(2), record(3), *counts).once(source) is None


async def test_only_the_wanted_streams_are_selected(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    await tap(config={"seen": str(seen)}, catalog_option="--properties").once(Keeping(tmp_path))
    found = json.loads(seen.read_text())
    assert "--properties" in found["arguments"]
    contacts, orders = found["catalog"]["streams"]
    assert [one["metadata"].get("selected") for one in contacts["metadata"]] == [True, None, True]
    assert [one["metadata"].get("selected") for one in orders["metadata"]] == [False, None, None]
    assert (contacts["schema"]["selected"], orders["schema"]["selected"]) == (True, False)


async def test_a_stream_that_the_tap_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(cdmd.SourceBlocked, match="has no stream contcats; there are contacts, orders"):
        await tap(streams={"contcats": DATA}).once(Keeping(tmp_path))


async def test_the_tap_gets_its_secrets_in_a_private_file_and_nothing_of_the_daemons_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/secrets")
    seen = tmp_path / "seen"
    secrets = {"auth.token": cdmd.Secret(b"s3cret", reference="env:X")}
    config = {"seen": str(seen), "auth": {"user": "joe"}}
    await tap(config=config, secrets=secrets, environment={"TZ": "UTC"}).once(Keeping(tmp_path))
    found = json.loads(seen.read_text())
    assert (found["config"]["auth"], found["mode"]) == ({"user": "joe", "token": "s3cret"}, 0o600)
    assert found["environment"].keys() <= {"PATH", "LANG", "LC_CTYPE", "HOME", "TMPDIR", "TZ"}
    assert "s3cret" not in str(found["arguments"])
    assert not await anyio.Path(tmp_path / "singer").exists(), "no secret stays behind"


async def test_a_program_that_is_not_there_says_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(cdmd.SourceUnavailable, match="program cannot be run; is command right"):
        await tap(command=("/nowhere/tap",)).once(Keeping(tmp_path))


async def test_what_is_no_catalog_is_told(tmp_path: Path) -> None:
    with pytest.raises(cdmd.SourceUnavailable, match="discover = false"):
        await tap(command=("/bin/true",)).once(Keeping(tmp_path))


async def test_trying_it_tells_how_it_ended(tmp_path: Path) -> None:
    told = list[str]()
    await tap(record(1)).sample(Keeping(tmp_path), told.append)
    assert told == ["the tap ended well"]
    with pytest.raises(cdmd.SourceBlocked, match="--input"):
        await tap().sample(Keeping(tmp_path), told.append, given=tmp_path)


def test_every_mistake_of_the_settings_is_told_at_once() -> None:
    with pytest.raises(cdmd.ConfigInvalid) as wrong:
        tap(
            command=("tap-crm",), streams={}, every=cdmd.Duration.parse("0s"), config={"a": 1},
            secrets={"a": cdmd.Secret(b"x", reference="env:X"), "a.b": cdmd.Secret(b"\xff", reference="env:Y")},
        )  # fmt: skip
    told = str(wrong.value)
    keys = ["command: its first word", "streams: is empty", "every: must be", "secrets.a: config has"]
    for key in [*keys, "secrets.a.b: is not printable", "secrets.a.b: config has"]:
        assert f"connectors.crm.{key}" in told


def test_it_imports_only_the_public_names() -> None:
    for file in (HERE.parent / "cdmd_singer").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("cdmd."), file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cdmd":
                assert node.attr in cdmd.__all__
