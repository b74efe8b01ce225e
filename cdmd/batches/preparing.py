"""What of a decision can be made before anything is asked: each event's digest, and what it can be found by. Pure.

Of a backlog that takes tens of milliseconds: in a thread, where it holds nobody up, while the store still writes what came
before. Not here: deciding.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import anyio.to_thread
import msgspec

from cdmd.batches.rules import Rules
from cdmd.identity.identifiers import Forms
from cdmd.models import Apply, Digest, Entry, Event, Hold, Item, Wanted, to_micros

Work: TypeAlias = Sequence[tuple[Item, Event]]
"""Items, each with its event as it was journaled."""

_FEW: Final = 100
"""So many events are prepared sooner than a thread could be asked to."""

_NONE: Final = Forms(())
_SEQ: Final = attrgetter("item.seq")


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An item, its event as it was journaled, its occurrence's digest, and what it can be found by.

    ``content`` tells other content under the same id; where the id is the content's digest there is none, and the receipt
    stands instead.
    """

    item: Item
    original: Event
    digest: Digest | None
    content: int
    forms: Forms


class Preparation(NamedTuple):
    """A batch in journal order under ``rules``: ``wanted`` is what a decision about it must know.

    ``swayed``: an extension had or has a say about one of its events. ``plain``: none of them waits for one, or did.
    """

    rules: Rules
    items: list[Prepared]
    wanted: Wanted
    swayed: bool
    plain: bool


def prepare(rules: Rules, work: Work) -> Preparation:
    """Make ``work`` ready under ``rules``."""
    return _preparation(rules, [_prepared(rules, item, original) for item, original in work])


async def prepared(rules: Rules, work: Work) -> Preparation:
    """The same, in a thread where it is much."""
    return prepare(rules, work) if len(work) <= _FEW else await anyio.to_thread.run_sync(prepare, rules, work)


def together(rules: Rules, parts: Sequence[Preparation]) -> Preparation:
    """Several as one; what was made ready under other rules than ``rules`` is made ready again."""
    parts = [one if one.rules is rules else prepare(rules, work_of(one.items)) for one in parts]
    if len(parts) == 1:
        return parts[0]
    items = sorted([one for part in parts for one in part.items], key=_SEQ)
    swayed, plain = any(part.swayed for part in parts), all(part.plain for part in parts)
    return Preparation(rules, items, _all_wanted([part.wanted for part in parts]), swayed, plain)


def _all_wanted(parts: Sequence[Wanted]) -> Wanted:
    """What several want: as much as they would want as one, and found in a fraction of the time."""
    digests = [digest for part in parts for digest in part.digests]
    pairs = dict.fromkeys(pair for part in parts for pair in part.identifiers)
    return Wanted(digests, list(pairs), [seq for part in parts for seq in part.parked], journaled=True)


def work_of(items: Iterable[Prepared]) -> Work:
    """What was made ready."""
    return [(one.item, one.original) for one in items]


def _preparation(rules: Rules, items: list[Prepared]) -> Preparation:
    items.sort(key=_SEQ)
    waits = any(_waits(one.item) for one in items)
    return Preparation(rules, items, wanted_by(items), waits or any(one.item.trace for one in items), not waits)


def wanted_by(items: Sequence[Prepared]) -> Wanted:
    """What a decision about them must know."""
    digests = [one.digest for one in items if one.digest is not None]
    pairs = {pair: None for one in items for pair in one.forms.pairs}
    return Wanted(digests, list(pairs), [one.item.seq for one in items if one.item.resumed], journaled=True)


def _prepared(rules: Rules, item: Item, original: Event) -> Prepared:
    digest = item.digest
    if digest is None and (named := item.entry.occurrence) is not None:
        digest = rules.digester.occurrence(*named)
    content = 0 if digest is None else _content(rules, item.entry, original)
    return Prepared(item, original, digest, content, forms_of(rules, item))


def forms_of(rules: Rules, item: Item) -> Forms:
    """What it can be found by, where it goes on to identity and profile."""
    return rules.kinds.forms(item.entry.event.identifiers) if isinstance(item.outcome, Apply) else _NONE


def _content(rules: Rules, entry: Entry, original: Event) -> int:
    return to_micros(entry.event.received) if entry.brief else rules.digester.content(entry.content(original))


def _waits(item: Item) -> bool:
    return item.resumed or isinstance(item.outcome, Hold)
