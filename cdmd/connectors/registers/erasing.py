"""Rows of a register that nobody may know of any more: their keys go, and with them whatever could tell that they were there.

Unlike a removal it is no event, and the row cannot be restored: where it comes again it is a new one. Pure.
"""

from collections.abc import Collection
from typing import Any

from cdmd.connectors.registers.rows import FIELD, GONE, HELD, WIDTH, Block, values_of


def folded(value: Any) -> str:
    """A value as values are compared: its text without case and blanks around it."""
    return str(value).strip().casefold()


def erased(block: Block, values: Collection[str], *, columns: int) -> tuple[int, int, int]:
    """Take the rows out of ``block`` whose key has one of ``values`` (folded) in it.

    How many were taken out, how many of those were live, and how many were held.
    """
    found = [place for place, text in enumerate(block.texts) if text and _named(text, values)]
    status, lines, keys = bytearray(block.status), bytearray(block.lines), bytearray(block.keys)
    fields, width, sums = bytearray(block.fields), FIELD * columns, bytearray(block.values)
    live = sum(status[place] != GONE for place in found)
    held = sum(status[place] == HELD for place in found)
    for place in found:
        status[place], block.texts[place] = GONE, b""
        lines[place * WIDTH : (place + 1) * WIDTH] = bytes(WIDTH)
        keys[place * WIDTH : (place + 1) * WIDTH] = bytes(WIDTH)
        fields[place * width : (place + 1) * width] = bytes(width)
        sums[place * WIDTH : (place + 1) * WIDTH] = bytes(WIDTH)
    block.status, block.lines, block.keys = bytes(status), bytes(lines), bytes(keys)
    block.fields, block.values = bytes(fields), bytes(sums)
    return len(found), live, held


def _named(text: bytes, values: Collection[str]) -> bool:
    return any(folded(value) in values for value in values_of(text))
