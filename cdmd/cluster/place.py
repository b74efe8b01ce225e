"""Which journal on which servers, and the streams that it is made of."""

from typing import NamedTuple, Self

import msgspec

from cdmd.cluster.bucket import Bucket
from cdmd.cluster.connection import Access, Link
from cdmd.cluster.stream import Shape, Stream


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The name that the journal's streams begin with, copies of them, and bytes that its entries may take (None: any).

    ``lanes``: into how many what is written is divided.
    ``holder`` is what is told to others who want to write it; None: nobody is kept from it, and the last one writes.
    """

    access: Access
    name: str = "cdmd"
    replicas: int = 1
    max_bytes: int | None = None
    lanes: int = 1
    holder: str | None = None


class Streams(NamedTuple):
    """``entries`` and ``changes`` in order, and ``kept``: a message for each key, with its subjects in ``bucket``."""

    entries: Stream
    changes: Stream
    kept: Stream
    bucket: Bucket

    async def drop(self, *, before: int) -> None:
        """Remove the entries in front of that message, and what stands in for them."""
        await self.entries.purge(before)
        for subject in await self.kept.subjects(self.bucket.patches):
            if self.bucket.patched(subject) < before:
                await self.kept.replace(subject, None)

    @classmethod
    def of(cls, place: Place, link: Link) -> Self:
        """They are made by ``ensure`` of each."""
        bucket = Bucket(place.name)

        def stream(name: str, *subjects: str, max_bytes: int | None = None) -> Stream:
            return Stream(link, Shape(name=name, subjects=subjects, replicas=place.replicas, max_bytes=max_bytes))

        entries = f"{place.name}.entries"
        return cls(
            stream(f"{place.name}_entries", entries, f"{entries}.>", max_bytes=place.max_bytes),
            stream(f"{place.name}_changes", f"{place.name}.changes"),
            stream(f"KV_{place.name}", bucket.everything),
            bucket,
        )
