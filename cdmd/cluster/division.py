"""Into how many lanes the entries of a stream are divided, from where on, and where each ends.

A message holds entries of one lane that follow on each other, under that lane's subject, and names the lane's message in front
of it: so a lane is read without the others, and what is missing in it is noticed. Not here: reading it.
"""

from collections.abc import Sequence
from typing import Final, Self

import msgspec

from cdmd.cluster.entries import Counted, Piece, cut, encode_piece
from cdmd.models import Entry, Micros, Seq

UNDIVIDED: Final = 1


class Division(msgspec.Struct, frozen=True, array_like=True):
    """``number`` of them behind entry ``since``; what is in front of that is in none of these.

    ``ends``: the message in which the last piece of each begins, 0 where there is none.
    """

    number: int = UNDIVIDED
    since: Seq = Seq(0)
    ends: tuple[int, ...] = ()

    @classmethod
    def behind(cls, since: Seq, *, number: int) -> Self:
        """Empty ones."""
        return cls(number, since, (0,) * number if number > UNDIVIDED else ())

    def of(self, entries: Sequence[Entry]) -> list[int]:
        """Which lane each is of; empty where there are none."""
        return [one.part % self.number for one in entries] if self.ends else []

    def subject(self, top: str, lane: int) -> str:
        """What is written of that lane goes there."""
        return f"{top}.{self.number}.{lane}" if self.ends else top

    def subjects(self, top: str, pieces: Sequence[Piece]) -> list[str]:
        """The same of each piece."""
        return [self.subject(top, one.lane) for one in pieces]

    def taken(self, places: Sequence[int], pieces: Sequence[Piece]) -> "Division":
        """The same where these pieces lie in those messages."""
        since, ends = self.since, list(self.ends)
        for at, piece in zip(places, pieces, strict=True):
            if piece.lanes == self.number and ends:
                ends[piece.lane] = at
            else:
                since, ends = piece.last, [0] * len(ends)
        return Division(self.number, since, tuple(ends))

    def into(self, number: int, *, behind: Seq) -> "Division":
        """The same where it is into so many; another one begins behind that entry."""
        return self if number == self.number else Division.behind(behind, number=number)

    def cut(
        self,
        first: Seq,
        entries: Sequence[Entry],
        encoded: Sequence[bytes],
        *,
        written: Micros,
        most: int,
        counts: Sequence[Counted],
        at: int,
    ) -> tuple[list[Piece], list[bytes]]:
        """See ``entries.cut``: the first piece is to lie in message ``at``, others behind it. And what is written of each."""
        lanes, ends = self.of(entries), list(self.ends)
        pieces, bodies = cut(first, encoded, written=written, most=most, counts=counts, lanes=lanes), list[bytes]()
        for n, piece in enumerate(pieces):
            if lanes:
                lane = lanes[piece.first - first]
                pieces[n] = Piece(*piece.block, piece.counts, self.number, lane, ends[lane])
                ends[lane] = at
            bodies.append(encode_piece(pieces[n]))
            at += -(-len(bodies[n]) // most)
        return pieces, bodies
