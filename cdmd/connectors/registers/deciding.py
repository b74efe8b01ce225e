"""What becomes of the rows that a register lacks: removed, waited for, or held until somebody approves. Pure.

A row that is missing means that the supplier stopped sending it, which may as well be a mistake there. So a register that
may not be whole removes nobody, and one that would remove more than is usual removes nobody until it is approved.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from cdmd.connectors.registers.rows import GONE, HELD, LONGEST_MISSING, PRESENT

ALWAYS: Final = 5
"""So many removals always pass a per cent, unless they are more than half of all rows."""

_SHARE: Final = re.compile(r"(\d{1,15})(%?)")


class Removals(msgspec.Struct, frozen=True):
    """How many rows a register may remove by itself: a number, or per cent of all, and after how many registers in a row."""

    number: int
    percent: bool
    missing_for: int = 1

    @classmethod
    def parse(cls, text: str, *, missing_for: int = 1) -> "Removals":
        """Read ``"5%"`` or ``"100"``; raises ValueError."""
        found = _SHARE.fullmatch(text)
        if found is None or (found[2] and int(found[1]) > 100):  # noqa: PLR2004 - per cent
            raise ValueError(f'{text!r} is neither a number of rows ("100") nor per cent of them ("5%")')
        return cls(int(found[1]), bool(found[2]), missing_for)

    def brake(self, removed: int, *, live: int) -> str | None:
        """Why so many of the ``live`` rows are not removed without approval; None where they may be."""
        most = max(live * self.number // 100, ALWAYS) if self.percent else self.number
        if removed > most or (self.percent and removed * 2 > live):
            return f"it lacks {removed} of {live} rows, more than max_removed allows"
        return None

    def due(self, status: int) -> bool:
        """Whether a row of this status that is missing again is to be removed."""
        return status == HELD or (status != GONE and status + 1 >= self.missing_for)


def after_missing(status: int, *, due: bool, held: bool) -> int:
    """The status of a row that the register lacks: ``due`` to be removed, and whether removals are ``held``."""
    if status == GONE:
        return GONE
    if due:
        return HELD if held else GONE
    return min(status + 1, LONGEST_MISSING)


def after_present(status: int) -> int:
    """The status of a row that the register has."""
    return PRESENT if status != GONE else GONE


def lacks_end(last: Sequence[int], missing: Collection[int]) -> bool:
    """Whether the rows that are ``missing`` are those that the register before ended with; ``last`` are its last ones.

    A register that is cut at a line's end lacks just these. Rows that are removed one by one are hardly ever the last ones.
    """
    some = min(len(last), len(missing))
    return some > 0 and all(place in missing for place in last[-some:])


def doubts(records: int, *, unreadable: int, cut: bool, ended: bool, least: int) -> str | None:
    """Why a register of so many ``records`` may not be whole; None where nothing speaks against it.

    ``cut``: it ends in the middle of a line; ``ended``: it lacks what the one before ended with.
    """
    if unreadable:
        return f"{unreadable} of its records cannot be read, and they may be the rows that it lacks"
    if cut:
        return "it does not end with a line's end as the one before did: it may be cut"
    if ended:
        return "the rows that it lacks are the ones that the register before ended with: it may be cut"
    if records < least:
        return f"it has {records} rows, fewer than min_rows ({least}): it may be cut"
    return None
