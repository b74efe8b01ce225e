"""Dead letters: list, show, retry and discard, one by one or by filter.

A list shows reasons and no content; a letter's event is redacted and its record hidden unless an admin reveals them, audited.
"""

from typing import Any, Final

import msgspec

from cdmd.contracts import DeadLetterCause, DeadLetterFilter
from cdmd.control import redaction
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.protocol import CauseRow, DeadLetterRow, DeadLetterShown, Done
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, NotFound
from cdmd.models import DeadLetter, Fault, Seq, from_micros, to_micros
from cdmd.profiles.shape import event_document

BATCH: Final = 1000
MOST_LISTED: Final = 10_000
MOST_CAUSES: Final = 500


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters a change is about: numbers, a filter, or ``all`` of them. Saying nothing selects nothing.

    ``most`` ends it after about so many, the oldest first: whoever asks can say how far it is.
    """

    seqs: list[int] | None = None
    connector: str | None = None
    type: str | None = None
    code: str | None = None
    all: bool = False
    most: int | None = None


async def listed(runtime: Runtime, actor: Actor, which: DeadLetterFilter) -> list[DeadLetterRow]:
    """The dead letters that fit, in order of sequence."""
    permit(actor, Role.READER)
    bounded = msgspec.structs.replace(which, limit=max(1, min(which.limit, MOST_LISTED)))
    found = await runtime.store.dead_letters(bounded)
    return [_row(letter) for letter in found if not runtime.governance.conceals(letter.entry)]


async def causes(runtime: Runtime, actor: Actor, *, limit: int) -> list[CauseRow]:
    """Dead letters counted by connector, type and code, the most frequent first, each with what the newest of them says."""
    permit(actor, Role.READER)
    found = await runtime.store.dead_letter_causes(limit=max(1, min(limit, MOST_CAUSES)))
    newest = [Seq(one.newest) for one in found]
    which = DeadLetterFilter(seqs=newest, limit=len(newest) or 1)
    faults = {one.seq: one.fault for one in await runtime.store.dead_letters(which)} if newest else {}
    return [_cause(one, faults.get(Seq(one.newest))) for one in found]


async def shown(runtime: Runtime, actor: Actor, seq: int, *, reveal: bool) -> DeadLetterShown:
    """One dead letter; ``reveal`` brings its event and record in full. Raises ``NotFound``."""
    if not reveal:
        permit(actor, Role.READER)
        return _shown(await _one(runtime, seq), reveal=False)
    async with audited(runtime, actor, "dead-letters show --reveal", arguments={"seq": seq}):
        return _shown(await _one(runtime, seq), reveal=True)


async def retry(runtime: Runtime, actor: Actor, selection: Selection) -> Done:
    """Send the selected dead letters through again with today's configuration and plugins; answers how many."""
    async with audited(runtime, actor, "dead-letters retry", arguments=_said(selection)):
        which, now = _which(selection), to_micros(runtime.clock.now())
        count = 0
        # One round more than there are letters for: one that comes straight back must not keep this going for ever.
        for _ in range(await _rounds(runtime, selection)):
            taken = await runtime.take_back(which)
            revived = await runtime.store.revive(which, now=now)
            count += taken + revived
            if taken < BATCH and revived < BATCH:
                break
        _some(count, selection)
    return Done(done="retried", count=count)


async def discard(runtime: Runtime, actor: Actor, selection: Selection) -> Done:
    """Remove the selected dead letters for good (they count as filtered); answers how many."""
    async with audited(runtime, actor, "dead-letters discard", arguments=_said(selection)):
        which, now = _which(selection), to_micros(runtime.clock.now())
        count = 0
        for _ in range(await _rounds(runtime, selection)):
            gone = await runtime.store.discard(which, now=now)
            count += gone
            if gone < BATCH:
                break
        _some(count, selection)
    return Done(done="discarded", count=count)


async def _rounds(runtime: Runtime, selection: Selection) -> int:
    there = (await runtime.store.totals()).dead_letters
    return (there if selection.most is None else min(there, max(1, selection.most) - 1)) // BATCH + 1


def _said(selection: Selection) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(selection).items() if value}


def _which(selection: Selection) -> DeadLetterFilter:
    filtered = any((selection.connector, selection.type, selection.code))
    if (selection.seqs is not None) + filtered + selection.all != 1:
        raise BadArguments("say which dead letters: their numbers, or a filter (connector, type, code), or all of them")
    if selection.seqs is not None and not 0 < len(selection.seqs) <= BATCH:
        raise BadArguments(f"between one and {BATCH} numbers at once")
    return DeadLetterFilter(
        connector=selection.connector,
        type=selection.type,
        code=selection.code,
        seqs=None if selection.seqs is None else [Seq(seq) for seq in selection.seqs],
        limit=BATCH,
    )


def _some(count: int, selection: Selection) -> None:
    if count == 0 and selection.seqs is not None:
        raise NotFound("there is no dead letter of that number: see `cdmctl dead-letters list`")


async def _one(runtime: Runtime, seq: int) -> DeadLetter:
    letters = await runtime.store.dead_letters(DeadLetterFilter(seqs=[Seq(seq)], limit=1))
    if not letters or runtime.governance.conceals(letters[0].entry):
        raise NotFound(f"there is no dead letter {seq}: see `cdmctl dead-letters list`")
    return letters[0]


def _shown(letter: DeadLetter, *, reveal: bool) -> DeadLetterShown:
    event, raw = event_document(letter.entry.event), letter.entry.raw
    if not reveal:
        return DeadLetterShown(letter=_row(letter), event=redaction.event(event), raw_bytes=len(raw))
    return DeadLetterShown(letter=_row(letter), event=event, raw_bytes=len(raw), raw=_record(raw))


def _record(raw: bytes) -> Any:
    """The record as JSON, or as text where it is none."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "backslashreplace")


def _cause(one: DeadLetterCause, fault: Fault | None) -> CauseRow:
    return CauseRow(
        connector=one.connector,
        type=one.type,
        code=one.code,
        count=one.count,
        first=from_micros(one.first),
        last=from_micros(one.last),
        newest=one.newest,
        message=None if fault is None else fault.message,
        expression=None if fault is None else fault.expression,
        path=None if fault is None else fault.path,
    )


def _row(letter: DeadLetter) -> DeadLetterRow:
    event, fault = letter.entry.event, letter.fault
    return DeadLetterRow(
        seq=letter.seq,
        id=event.id,
        source=event.source,
        type=event.type,
        stage=letter.stage,
        since=from_micros(letter.since),
        attempts=letter.attempts,
        code=fault.code,
        message=fault.message,
        expression=fault.expression,
        path=fault.path,
        kind=fault.kind,
    )
