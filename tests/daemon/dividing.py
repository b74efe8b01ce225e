"""Duties in memory, with what a test wants to happen to them, and a store that has them."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from cdmd.contracts import Holder, Part
from cdmd.errors import Ending, Followed, NotDurable
from cdmd.store.store import SqliteStore


class Divided:
    """``rows`` is who has each duty: (kind, name) with the node and the token. This node is ``me``, one of ``count``."""

    def __init__(self, me: str = "a", count: int = 1) -> None:
        self.me, self.count, self.fails, self.over = me, count, False, False
        self.rows: dict[tuple[str, str], Holder] = {}
        self.tokens: dict[tuple[str, str], int] = {}

    def _ask(self) -> None:
        if self.fails:
            raise NotDurable("no server answers")

    def has(self, kind: str, name: str, node: str | None) -> None:
        self.rows[kind, name] = Holder(node)
        self.tokens[kind, name] = self.tokens.get((kind, name), 0) + 1

    async def part(self, kind: str, names: Collection[str]) -> Part:
        self._ask()
        holders = {name: self.rows.get((kind, name), Holder(None)) for name in sorted(names)}
        mine = {name: self.tokens[kind, name] for name, one in holders.items() if one.node == self.me}
        share = -(-len(holders) // self.count) if self.count else 0
        free = [name for name, one in holders.items() if one.node is None]
        return Part(mine, list(mine)[share:], free[: max(0, share - len(mine))], holders)

    async def take(self, kind: str, name: str) -> int | None:
        self._ask()
        if self.rows.get((kind, name), Holder(None)).node is not None:
            return None
        self.has(kind, name, self.me)
        return self.tokens[kind, name]

    async def let_go(self, kind: str, names: Collection[str]) -> None:
        for name in names:
            self.rows[kind, name] = Holder(None)

    async def say(self, kind: str, name: str, said: str) -> None:
        self.rows[kind, name] = Holder(self.me, said)

    def holds(self, kind: str, name: str) -> bool:
        return not self.over and self.rows.get((kind, name), Holder(None)).node == self.me


def divided(monkeypatch: pytest.MonkeyPatch, duties: Divided) -> None:
    """As if several nodes wrote the store: a class of its own, because what a class fulfils is asked once."""

    def asked(name: str) -> Any:
        return lambda _store, *said: getattr(duties, name)(*said)

    methods = {name: asked(name) for name in ("part", "take", "let_go", "say", "holds")}
    monkeypatch.setattr("cdmd.store.opening.SqliteStore", type("DividedStore", (SqliteStore,), methods))


class Done:
    """Work that remembers what was asked of it."""

    def __init__(self, *names: str) -> None:
        self.names, self.here, self.happened = set(names), dict[str, int](), list[str]()
        self.holders: Mapping[str, Holder] = {}
        self.refuses, self.followed = set[str](), set[str]()
        self.least = 0
        self.stopping = False

    async def begin(self, name: str, token: int) -> None:
        if name in self.refuses:
            raise NotDurable("the node that leads does not answer")
        if token < self.least:
            raise Followed({name: self.least})
        self.here[name] = token
        self.happened.append(f"begin {name} {token}")

    async def end(self, name: str) -> None:
        if self.stopping:
            raise Ending("the daemon is stopping")
        del self.here[name]
        self.followed.discard(name)
        self.happened.append(f"end {name}")

    def seen(self, holders: Mapping[str, Holder]) -> None:
        self.holders = holders

    def said(self, name: str) -> str:
        return f"{name} goes well"
