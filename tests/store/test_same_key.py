"""Which digest key a journal goes with that outlives a state directory: said once, by who writes it."""

from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import Damaged, NotDurable
from cdmd.store.files import StateDirectory
from cdmd.store.keys import Digester
from cdmd.store.opening import _same_key
from cdmd.store.stored import KEY_CHECK
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio
MINE = Digester(bytes(32))


class Followed:
    """A journal that this node does not write; whoever does says the key after so many looks."""

    def __init__(self, after: int, said: bytes) -> None:
        self.after, self.said, self.tried = after, said, 0

    async def get(self, owner: str, keys: list[bytes]) -> dict[bytes, bytes]:
        self.after -= 1
        return {keys[0]: self.said} if self.after < 0 else {}

    async def append(self, appends: Any) -> None:
        self.tried += 1
        raise NotDurable("this node only applies events")


async def test_who_follows_waits_for_it_to_be_said(tmp_path: Path) -> None:
    journal: Any = Followed(3, MINE.occurrence(*KEY_CHECK))
    await _same_key(journal, MINE, StateDirectory(tmp_path), HandClock())
    assert journal.tried == 3


async def test_another_one_is_refused_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    other: Any = Followed(1, b"another")
    with pytest.raises(Damaged, match="another digest key"):
        await _same_key(other, MINE, StateDirectory(tmp_path), HandClock())
    never: Any = Followed(10**9, b"")
    with pytest.raises(NotDurable, match="only applies"):
        await _same_key(never, MINE, StateDirectory(tmp_path), HandClock())
