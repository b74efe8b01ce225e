"""What a journal or a store says of itself while it is filled from another one, and once it was moved to another one.

It lies in what it is about, so that no daemon opens that, wherever it is opened from. Not here: moving anything.
"""

from typing import Final

import msgspec

from cdmd.errors import CdmdError

MOVE: Final = "moving"
"""Under which name a store remembers it; a journal among the state of ``JOURNAL_OWNER``."""
JOURNAL_MOVE: Final = MOVE.encode()
MOVED_WHOLE: Final = "whole"
"""The file that is in ``StateDirectory.moving`` once all that was moved is there, until it is put in place."""
JOURNAL_OWNER: Final = "daemon:key"
"""Whose state says which digest key a journal goes with, and this; no connector can have the name."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """``gone``: all of it is at ``other`` now; else it is being filled from there. ``at``: when, in RFC 3339."""

    journal_id: str
    gone: bool
    other: str
    at: str

    @property
    def sentence(self) -> str:
        """Why nothing may be started with it, and what to do."""
        if self.gone:
            return (
                f"was moved to {self.other} on {self.at}: start cdmd with the configuration that names that; to come back, "
                "stop it and run: cdmd migrate --config THAT_CONFIGURATION --to THIS_ONE"
            )
        return f"is not whole: cdmd migrate was filling it from {self.other}; run that command again, it goes on where it was"


def encode_move(move: Move) -> str:
    """As text."""
    return msgspec.json.encode(move).decode()


def decode_move(text: str | bytes) -> Move:
    """What ``encode_move`` was given."""
    return msgspec.json.decode(text, type=Move)


def refuse_moved(what: str, said: str | bytes | None) -> None:
    """Raise ``CdmdError`` where ``what`` is being filled or was moved away. ``said`` is what it remembers under ``MOVE``."""
    if said is not None:
        raise CdmdError(f"the {what} {decode_move(said).sentence}")
