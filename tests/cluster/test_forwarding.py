"""What nodes append that do not write the journal, on a real nats-server: taken once, and from nobody who was followed."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from cdmd.cluster.connection import Access, Link
from cdmd.cluster.following import FollowedJournal
from cdmd.cluster.forwarding import _ENCODE, Answers, Asking, _Carried, _Part, _Reply
from cdmd.cluster.leading import LeadingJournal
from cdmd.cluster.place import Place
from cdmd.contracts import Append
from cdmd.errors import CdmdError, Followed, NotDurable
from cdmd.models import Entry, Event, Seq, encode_entry
from cdmd.testing import ManualClock
from tests.cluster.servers import NatsServer, needed
from tests.store.samples import START, HandClock, append_of, entry

pytestmark = [needed, pytest.mark.anyio, pytest.mark.timeout(60)]
_NAMES = itertools.count()


@pytest.fixture
def place(nats: NatsServer) -> Place:
    return Place(access=Access(servers=(nats.url,)), name=f"forwarded{next(_NAMES)}")


@asynccontextmanager
async def leading(place: Place, folder: Path, *, take: Any = None) -> AsyncIterator[LeadingJournal]:
    opened = LeadingJournal.open(place, clock=HandClock(), mark_path=folder / "mark", new_id=lambda: f"w{next(_NAMES)}")
    async with opened as journal, anyio.create_task_group() as tasks:
        tasks.start_soon(journal.answer, take or journal.append)
        try:
            yield journal
        finally:
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def asking(place: Place) -> AsyncIterator[Asking]:
    """One that asks until it is answered."""
    async with Link.open(place.access, name="cdmd test") as link:
        yield Asking(link, place.name, clock=PatientClock())


class PatientClock(HandClock):
    """What is to be waited for takes real time, and none of the patience. ``waited``: something had to be."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        self.waited.set()
        await anyio.sleep(0.01)


def fetched(*numbers: int, fence: int, cursor: bytes = b"") -> Append:
    one = append_of(*numbers)
    state = {b"cursor": cursor} if cursor else {}
    return Append(connector="shop", entries=one.entries, encoded=one.encoded, state=state, fence=fence)


async def test_what_a_node_fetches_is_in_the_journal_with_its_state_when_it_is_told_so(place: Place, tmp_path: Path) -> None:
    async with leading(place, tmp_path) as journal, FollowedJournal.open(place, clock=PatientClock()) as followed:
        await journal.append([append_of(1)])
        bare = Append(connector="shop", entries=[entry(3)], counts={"accepted": 1}, fence=5)
        assert await followed.append([fetched(2, fence=5, cursor=b"2"), bare]) == 2
        assert journal.head == 3
        assert [one.entry for one in await journal.read(Seq(0), limit=9)] == [entry(n) for n in (1, 2, 3)]
        assert await followed.get("shop", [b"cursor"]) == {b"cursor": b"2"}
        await journal.settled()  # what was changed lies elsewhere now
        await followed.append([fetched(4, fence=5, cursor=b"4")])
        assert await followed.get("shop", [b"cursor"]) == {b"cursor": b"4"}
        assert [row async for row in followed.scan("shop", b"")] == [(b"cursor", b"4")]
        assert await journal.counts() == {("shop", "accepted"): 1}


async def test_what_a_message_cannot_hold_goes_in_several(place: Place, tmp_path: Path) -> None:
    event = Event(id="large", source="shop", type="order", received=START, data={"text": "x" * 2_500_000})
    async with leading(place, tmp_path) as journal, asking(place) as asks:
        assert await asks.append([Append(connector="shop", entries=[Entry(event)], fence=1)]) == 1
        assert [one.entry.event for one in await journal.read(Seq(0), limit=1)] == [event]


async def test_one_whose_answer_was_lost_is_asked_for_again_and_taken_once(place: Place, tmp_path: Path) -> None:
    gate, asked_again, taken = anyio.Event(), anyio.Event(), list[Seq]()

    async def slow(appends: Sequence[Append]) -> Seq:
        first = await journal.append(appends)
        taken.append(first)
        await gate.wait()
        return first

    async with leading(place, tmp_path, take=slow) as journal, asking(place) as asks:
        request = asks._link.request

        async def again(subject: str, payload: bytes, *, seconds: float) -> bytes:
            asked_again.set()
            return await request(subject, payload, seconds=seconds)

        async def lost(subject: str, payload: bytes, *, seconds: float) -> bytes:
            asks._link.request = again  # type: ignore[method-assign]
            with anyio.move_on_after(0.2):
                await request(subject, payload)
            raise NotDurable("the NATS server did not answer")

        asks._link.request = lost  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asks.append, [fetched(1, fence=1)])
            with anyio.fail_after(30):
                await asked_again.wait()
            gate.set()
        assert (taken, journal.head) == ([1], 1)


async def test_nothing_is_taken_of_a_node_that_another_one_followed_whoever_writes(place: Place, tmp_path: Path) -> None:
    """One that slept comes with the token that it had: its position does not stand in place of the one that is there."""
    async with leading(place, tmp_path) as journal, asking(place) as asks:
        await asks.append([fetched(1, fence=1, cursor=b"1")])
        await asks.append([Append(connector="shop", fence=2)])
        with pytest.raises(NotDurable, match="another node fetches for shop by now"):
            await asks.append([fetched(2, fence=1, cursor=b"0")])
        with pytest.raises(NotDurable, match="another node fetches"):
            await journal.append([fetched(2, fence=1, cursor=b"0")])
        await asks.append([fetched(2, fence=2, cursor=b"2")])
        await journal.append([append_of(3)])  # what is told and not fetched has none
        assert (journal.head, await journal.get("shop", [b"cursor"])) == (3, {b"cursor": b"2"})
    async with leading(place, tmp_path) as journal:
        with pytest.raises(NotDurable, match="another node fetches"):
            await journal.append([fetched(4, fence=1, cursor=b"0")])
        assert await journal.get("shop", [b"cursor"]) == {b"cursor": b"2"}


async def test_why_it_was_not_taken_is_told_and_it_is_taken_when_it_is_asked_again(place: Place, tmp_path: Path) -> None:
    failures: list[Exception] = [NotDurable("the disk is full", retry_after=7), CdmdError("something else")]

    async def fails(appends: Sequence[Append]) -> Seq:
        if failures:
            raise failures.pop(0)
        return await journal.append(appends)

    async with leading(place, tmp_path, take=fails) as journal, asking(place) as asks:
        with pytest.raises(NotDurable, match="the disk is full") as told:
            await asks.append([fetched(1, fence=1)])
        assert told.value.retry_after == 7
        with pytest.raises(NotDurable, match="the node that leads cannot take it: something else"):
            await asks.append([fetched(1, fence=1)])
        assert await asks.append([fetched(1, fence=1)]) == 1


async def test_one_that_led_before_and_is_still_there_answers_nothing(place: Place, tmp_path: Path) -> None:
    """It may be the quicker one, and what it says is that it can take nothing."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    async with leading(place, old), leading(place, new) as journal, asking(place) as asks:
        for number in range(1, 9):
            assert await asks.append([fetched(number, fence=1)]) == number
        assert journal.head == 8


async def test_where_nobody_leads_it_is_waited_for_and_then_said(place: Place, tmp_path: Path) -> None:
    async with Link.open(place.access, name="cdmd test") as link:
        with pytest.raises(
            NotDurable, match=f"the node that leads does not answer: no NATS server answers to {place.name}.asked"
        ):
            await Asking(link, place.name, clock=HandClock(), patience=1.0).append([fetched(1, fence=1)])
        clock = PatientClock()
        patient = Asking(link, place.name, clock=clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(patient.append, [fetched(1, fence=1)])
            with anyio.fail_after(30):
                await clock.waited.wait()
            async with leading(place, tmp_path) as journal:
                with anyio.fail_after(30):
                    await journal.wait(Seq(0))
                    while patient._asking.locked():  # noqa: ASYNC110 - another connection's doing
                        await anyio.sleep(0.01)


async def test_what_is_not_fetched_here_is_refused_here(place: Place, tmp_path: Path) -> None:
    async with leading(place, tmp_path), FollowedJournal.open(place, clock=PatientClock()) as followed:
        for refused in (append_of(1), Append(connector="daemon:privacy", state={b"a": b"b"})):
            with pytest.raises(NotDurable, match="ask the node that leads"):
                await followed.append([refused])
        await followed.append([Append(connector="shop", counts={"refused": 1})])
        await followed.append([Append(connector="daemon:budgets", state={b"a": b"b"})])
        assert await followed.get("daemon:budgets", [b"a"]) == {b"a": b"b"}


async def test_what_makes_no_sense_is_answered_by_nobody_and_harms_nobody(place: Place, tmp_path: Path) -> None:
    async with leading(place, tmp_path) as journal, asking(place) as asks:
        await asks._link.say(f"{place.name}.asked", b"nonsense")
        assert await asks.append([fetched(1, fence=1)]) == 1
        assert journal.head == 1


# ---- requests by the message ----------------------------------------------------------------------------------------------


class Wire:
    """What one node sends, message by message, to one that takes everything."""

    def __init__(self) -> None:
        self.taken: list[Sequence[Append]] = []
        self.answers = Answers(self._take)
        self._messages: list[bytes] = []
        self.asks = Asking(self, "cdmd", clock=HandClock(), patience=0.0)  # type: ignore[arg-type]
        self.max_payload = 4_096 + 64

    async def _take(self, appends: Sequence[Append]) -> Seq:
        self.taken.append(appends)
        return Seq(len(self.taken))

    async def say(self, _subject: str, payload: bytes) -> None:
        self._messages.append(payload)

    async def request(self, _subject: str, payload: bytes, **_: float) -> bytes:
        self._messages.append(payload)
        raise NotDurable("it is taken by hand")

    async def messages(self, *appends: Append) -> list[bytes]:
        with pytest.raises(NotDurable):
            await self.asks.append(appends)
        made, self._messages = self._messages, []
        return made


async def test_a_request_of_which_a_part_is_missing_is_not_taken_and_asked_for_whole() -> None:
    wire = Wire()
    messages = await wire.messages(append_of(1))
    assert len(messages) > 2
    for one in messages[1:]:
        found = await wire.answers.answer(one)
    assert wire.taken == []
    assert found is not None
    for one in messages:
        await wire.answers.answer(one)
    ((one_append,),) = wire.taken
    assert one_append.encoded == (encode_entry(entry(1)),)


async def test_an_old_request_that_arrives_late_is_not_taken() -> None:
    wire = Wire()
    wire.max_payload = 2**20
    old, new = (await wire.messages(append_of(1)))[0], (await wire.messages(append_of(2)))[0]
    assert [await wire.answers.answer(one) for one in (old, new, new)] != [None] * 3
    assert len(wire.taken) == 2
    await wire.answers.answer(old)
    assert len(wire.taken) == 2


async def test_what_is_remembered_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.cluster.forwarding._MOST_NODES", 2)
    wire = Wire()
    for _ in range(4):
        other = Wire()
        for one in (await other.messages(append_of(1)))[:-1]:
            await wire.answers.answer(one)
        other.max_payload = 2**20
        await wire.answers.answer((await other.messages(append_of(1)))[0])
    assert (len(wire.answers._halves), len(wire.answers._taken)) == (0, 2)


async def test_what_did_not_come_whole_is_forgotten_in_time_and_where_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request of a node that stands by has a name of its own: nobody asks for it again."""
    answers = Wire().answers

    async def begin(life: str, size: int = 100) -> None:
        assert await answers.answer(_ENCODE(_Part(life, 0, 0, 2, bytes(size), sent=True))) is None

    monkeypatch.setattr("cdmd.cluster.forwarding._MOST_BYTES", 250)
    for life in ("a", "b", "c"):
        await begin(life)
    assert (list(answers._halves), answers._bytes) == (["b", "c"], 200)
    await begin("large", 1_000)
    assert (list(answers._halves), answers._bytes) == (["large"], 1_000), "what has just come may still become whole"
    monkeypatch.setattr("cdmd.cluster.forwarding._MOST_BYTES", 2**20)
    monkeypatch.setattr("cdmd.cluster.forwarding.PATIENCE", 0.0)
    before = anyio.current_time()
    while anyio.current_time() == before:
        await anyio.lowlevel.checkpoint()
    await begin("late", 1)
    assert (list(answers._halves), answers._bytes) == (["late"], 1)


async def test_whoever_asked_last_is_remembered_however_long_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for again because an answer was lost would be taken twice."""
    monkeypatch.setattr("cdmd.cluster.forwarding._MOST_NODES", 2)
    answers, taken = (wire := Wire()).answers, wire.taken

    async def ask(life: str, number: int) -> None:
        body = _ENCODE([_Carried("shop", (), (), (), 0)])
        assert await answers.answer(_ENCODE(_Part(life, number, 0, 1, body))) is not None

    for life, number in (("longest", 1), ("other", 1), ("longest", 2), ("new", 1), ("longest", 2)):
        await ask(life, number)
    assert len(taken) == 4


@pytest.mark.parametrize("why", ["another one opened it", "its time is over"])
async def test_who_may_lead_no_more_says_nothing_to_what_whoever_leads_hears_too(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Also where nothing but state was to be written, or nothing at all."""
    listening, clock = list[Any](), ManualClock()

    async def answer(_: Link, _subject: str, answered: Any) -> None:
        listening.append(answered)

    async def nothing(_: Any) -> Seq:
        return Seq(1)

    monkeypatch.setattr(Link, "answer", answer)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    held = msgspec.structs.replace(place, holder="old")
    state = _ENCODE([_Carried("shop", (), ((b"a", b"1"),), (), 0)])

    def opened(place: Place, name: str) -> Any:
        return LeadingJournal.open(place, clock=clock, mark_path=tmp_path / name / "mark", new_id=lambda: f"w{next(_NAMES)}")

    async with opened(held, "old") as old:
        await old.answer(old.append)
        await old.answer(nothing)
        append, decide = listening
        assert await append(_ENCODE(_Part("life", 1, 0, 1, state))) is not None
        assert await decide(_ENCODE(_Part("life", 1, 0, 1, state))) is not None
        if why == "its time is over":
            clock.advance(9.0)
            assert await decide(_ENCODE(_Part("life", 2, 0, 1, state))) is None
            return
        async with opened(place, "new"):
            assert await append(_ENCODE(_Part("life", 2, 0, 1, state))) is None
            assert await decide(_ENCODE(_Part("life", 2, 0, 1, state))) is None


async def test_who_was_overtaken_is_told_so_and_nobody_else_of_the_same_request() -> None:
    async def refuses(_: Sequence[Append]) -> Seq:
        raise Followed({"shop": 5})

    wire = Wire()
    wire.max_payload = 2**20
    wire.answers = Answers(refuses)

    async def request(_: str, payload: bytes, *, seconds: float) -> bytes:
        return await wire.answers.answer(payload) or b""

    wire.request = request  # type: ignore[method-assign]
    with pytest.raises(Followed, match="another node fetches for shop by now") as caught:
        await wire.asks.append([fetched(1, fence=4), append_of(2)])
    refused = [caught.value.refuses(*said) for said in (("shop", 4), ("shop", 5), ("shop", 0), ("crm", 4))]
    assert refused == [True, False, False, False]


async def test_a_request_that_ends_after_the_next_one_began_leaves_that_one_its_place() -> None:
    """Whoever lost patience has asked for something else meanwhile."""
    gates, taken = {"1": anyio.Event(), "2": anyio.Event()}, list[str]()

    async def take(appends: Sequence[Append]) -> Seq:
        (one,) = appends
        taken.append(one.connector)
        await gates[one.connector].wait()
        return Seq(int(one.connector))

    answers, said = Answers(take), list[bytes | None]()

    async def ask(number: int) -> None:
        body = _ENCODE([_Carried(str(number), (), (), (), 0)])
        said.append(await answers.answer(_ENCODE(_Part("life", number, 0, 1, body))))

    async with anyio.create_task_group() as tasks:
        for number, ends in ((1, ""), (2, "1"), (2, "2")):
            tasks.start_soon(ask, number)
            await anyio.wait_all_tasks_blocked()
            if ends:
                gates[ends].set()
                await anyio.wait_all_tasks_blocked()
    assert taken == ["1", "2"]
    assert said == [_ENCODE(_Reply(first=number)) for number in (1, 2, 2)]
