"""Finding customers: by public id, by an identifier, by how one begins, by a trait.

Readers find whom they can name, redacted. By how something begins, or by traits, values could be read letter by letter, so only
admins ask so.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import anyio.lowlevel
import msgspec

from cdmd.batches.owning import owners
from cdmd.contracts import Person
from cdmd.control import redaction
from cdmd.control.actors import Actor, Role
from cdmd.control.auditing import audited
from cdmd.control.profile_shapes import FoundPage, FoundRow
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments
from cdmd.models import ProfileKey, from_micros

MOST_FOUND: Final = 1000
LOOKED_AT: Final = 20_000
"""Profiles that one request looks at for a trait, a few at a time, so that everything else goes on."""
_AT_ONCE: Final = 200
_LONGEST_KEY: Final = 19
"""Digits, so that it stays within 64 bits."""


async def find(runtime: Runtime, actor: Actor, text: str, *, after: str, limit: int) -> FoundPage:
    """Whom ``text`` may mean: a public id, [KIND:]VALUE, or [KIND:]BEGINNING*. Raises ``BadArguments``."""
    begins = text.endswith("*")
    said: dict[str, Any] = {"by": "beginning" if begins else "name"}
    limit = max(1, min(limit, MOST_FOUND))
    async with audited(runtime, actor, "profile find", arguments=said, role=Role.ADMIN if begins else Role.READER):
        kinds, value = _meant(runtime, text)
        if begins:
            page = await _beginning(runtime, kinds, value.removesuffix("*"), after=after, limit=limit)
        else:
            page = FoundPage(profiles=await _named(runtime, kinds, value, reveal=actor.role is Role.ADMIN))
        said["count"] = len(page.profiles)
    return page


async def find_by_trait(runtime: Runtime, actor: Actor, trait: str, *, after: str, limit: int) -> FoundPage:
    """Whose trait has that value, NAME=VALUE, letter case aside. Raises ``BadArguments``."""
    said: dict[str, Any] = {"by": "trait"}
    async with audited(runtime, actor, "profile find", arguments=said):
        name, equals, value = trait.partition("=")
        if not (name and equals):
            raise BadArguments("write --trait NAME=VALUE")
        if after and not (after.isascii() and after.isdigit() and len(after) < _LONGEST_KEY):
            raise BadArguments("after is what the page before this one calls next")
        page = await _having(runtime, name, value, after=ProfileKey(int(after or 0)), limit=max(1, min(limit, MOST_FOUND)))
        said["count"] = len(page.profiles)
    return page


def _meant(runtime: Runtime, text: str) -> tuple[Sequence[str], str]:
    """The kinds that are meant, and the value or its beginning."""
    configured = list(runtime.config.identity.identifiers)
    kind, colon, value = text.partition(":")
    kinds, said = ([kind], value) if colon and kind in configured else (configured, text)
    if not said.strip("* "):
        raise BadArguments("write a public id, an identifier (KIND:VALUE or VALUE), or how one begins (joe@*)")
    return kinds, said


async def _named(runtime: Runtime, kinds: Sequence[str], value: str, *, reveal: bool) -> list[FoundRow]:
    found: dict[ProfileKey, FoundRow] = {}
    person = await runtime.store.directory.named(value)
    if person is not None:
        found[person.key] = _row(person, reveal=reveal)
    for kind in kinds:
        pair = runtime.kinds.normalise(kind, value)
        for owner in () if pair is None else await owners(runtime.store, runtime.kinds, pair):
            found.setdefault(owner.key, _row(Person(owner.key, owner.state), reveal=reveal))
    return list(found.values())


async def _beginning(runtime: Runtime, kinds: Sequence[str], prefix: str, *, after: str, limit: int) -> FoundPage:
    """A page goes on behind the identifier that the one before it ended with."""
    last, _, passed = after.partition(":")
    if last in kinds:
        kinds = kinds[list(kinds).index(last) :]
    found: dict[ProfileKey, FoundRow] = {}
    looked = 0
    for kind in kinds:
        begins, behind = runtime.kinds.beginning(kind, prefix), passed if kind == last else ""
        rows = await runtime.store.directory.starting(kind, begins, after=behind, limit=limit - looked)
        for _, person in rows:
            found.setdefault(person.key, _row(person, reveal=True))
        looked += len(rows)
        if looked == limit:
            return FoundPage(profiles=list(found.values()), next=f"{kind}:{rows[-1][0]}")
    return FoundPage(profiles=list(found.values()))


async def _having(runtime: Runtime, name: str, value: str, *, after: ProfileKey, limit: int) -> FoundPage:
    found, looked, wanted = [], 0, value.casefold()
    async for person in _people(runtime, after):
        looked, after = looked + 1, person.key
        traits = runtime.shown.shown_traits(person.state)
        if name in traits and _text(traits[name]).casefold() == wanted:
            found.append(_row(person, reveal=True))
        if len(found) == limit or looked == LOOKED_AT:
            return FoundPage(profiles=found, next=str(after), looked_at=looked)
    return FoundPage(profiles=found, looked_at=looked)


async def _people(runtime: Runtime, after: ProfileKey) -> AsyncIterator[Person]:
    while rows := await runtime.store.membership.profiles(after=after, limit=_AT_ONCE):
        for key, state in rows:
            if state.merged_into is None:
                yield Person(key, state)
        after = rows[-1][0]
        await anyio.lowlevel.checkpoint()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _row(person: Person, *, reveal: bool) -> FoundRow:
    state = person.state
    identifiers: list[Mapping[str, str]] = [
        {"kind": one.kind, "value": one.value if reveal else redaction.REDACTED} for one in state.identifiers if not one.derived
    ]
    created, updated = from_micros(state.created), from_micros(state.updated)
    return FoundRow(profile=state.public, identifiers=identifiers, created=created, updated=updated)
