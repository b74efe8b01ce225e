"""What connectors show of themselves and take commands about (``contracts.Shelf``): files, held runs, whatever they name.

No kind is known here. A plugin's connector is foreign code: one that raises or hangs spoils its own answer only.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from cdmd.contracts import ShowingConnector, Source
from cdmd.daemon.gate import Live
from cdmd.errors import BadArguments, CdmdError, NotFound
from cdmd.kit.detached import within
from cdmd.kit.frames import sentence

_PATIENCE: Final = 20.0
"""Seconds that one connector may take to answer."""

_CARRIED_OUT: Final = 600.0
"""Seconds for a command: removals of a large register that are approved take as long as its rows."""

_T = TypeVar("_T")


class Lives(Protocol):
    """The connectors there are (``LiveConnectors`` fulfils it)."""

    def __iter__(self) -> Iterator[Live]:
        """Each of them."""
        ...

    def here(self, name: str) -> Live:
        """The one of that name. Raises ``BadArguments`` where another node fetches for it."""
        ...

    def desk(self, live: Live) -> Source:
        """A source for commands about it: it takes state also while the connector is paused."""
        ...


def only(lives: Lives, kind: str | None) -> str | None:
    """The connector that has rows of that kind, where there is no other one."""
    names = [live.config.name for live in lives if _has(live, kind)]
    return names[0] if len(names) == 1 else None


def _has(live: Live, kind: str | None) -> bool:
    connector: object = live.connector
    return isinstance(connector, ShowingConnector) and any(shelf.kind == kind for shelf in connector.shelves)


class _Shown(NamedTuple):
    live: Live
    connector: ShowingConnector
    commands: Sequence[str]


class Shelves:
    """``lives()`` are the connectors there are now."""

    def __init__(self, lives: Callable[[], Lives]) -> None:
        self._lives = lives

    async def rows(self, kind: str, *, connector: str | None, state: str | None, limit: int) -> list[Mapping[str, Any]]:
        """The rows of every connector that offers the kind, or of one, each with its ``connector``.

        Raises ``NotFound`` where the one that is named does not offer it, and what a connector raises of ours.
        """
        found: list[Mapping[str, Any]] = []
        for one in self._offering(kind, connector):
            source = self._lives().desk(one.live)
            name = one.live.config.name
            rows = await _answered(name, partial(one.connector.rows, kind, source, state=state, limit=limit))
            found += [{"connector": name, **row} for row in rows]
        return found

    async def command(self, kind: str, command: str, *, connector: str | None, names: Sequence[str]) -> tuple[str, int]:
        """Tell the one connector that offers the kind; its name and to how many rows it was done. It looks again at once.

        Raises ``BadArguments`` where several offer it and none is named, ``NotFound``, and what the connector raises of ours.
        """
        offering = self._offering(kind, connector)
        if len(offering) != 1:
            these = ", ".join(one.live.config.name for one in offering)
            raise BadArguments(f"say which connector: {these}") if these else NotFound(f"no connector has {kind}")
        one = offering[0]
        name = one.live.config.name
        if command not in one.commands:
            raise BadArguments(f"{kind} of {name} can be told to: {', '.join(one.commands) or 'nothing'}")
        self._lives().here(name)
        desk = self._lives().desk(one.live)
        ask = partial(one.connector.command, kind, command, desk, names=names)
        count = await _answered(name, ask, seconds=_CARRIED_OUT)
        one.live.source.poke()
        return name, count

    def _offering(self, kind: str, name: str | None) -> list[_Shown]:
        found = []
        for live in self._lives():
            connector: object = live.connector
            if isinstance(connector, ShowingConnector) and name in {None, live.config.name}:
                found += [_Shown(live, connector, shelf.commands) for shelf in connector.shelves if shelf.kind == kind]
        if name is not None and not found:
            raise NotFound(f"there is no connector {name!r} that has {kind}")
        return found


async def _answered(name: str, ask: Callable[[], Awaitable[_T]], *, seconds: float | None = None) -> _T:
    """What the connector answers. Raises ``CdmdError``: its own, or one that says how it failed."""
    answers: list[_T] = []

    async def call() -> None:
        answers.append(await ask())

    seconds = _PATIENCE if seconds is None else seconds
    ended = await within(call, seconds=seconds, name=f"shelf of {name}")
    if ended is None:
        return answers[0]
    if isinstance(ended, CdmdError):
        raise ended
    why = f"it took longer than {seconds:g} s" if isinstance(ended, TimeoutError) else sentence(ended)
    raise CdmdError(f"{name} does not answer: {why}") from ended
