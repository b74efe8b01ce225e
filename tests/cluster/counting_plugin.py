"""A connector that asks for the next number and brings it as an event; where it is, is kept with it.

Also: leases are short, and who lost one is slow to end, so that it depends on nobody's luck what a late one does.
"""

import os
from collections.abc import Collection
from datetime import timedelta
from typing import Any, ClassVar

import anyio
import msgspec

import cdmd
import tests.cluster.hurrying_plugin  # noqa: F401 - whose leases these are
from cdmd.daemon.dividing import Dividing

_end = Dividing._end


async def _late(self: Dividing, *work: Any) -> None:
    await anyio.sleep(0.7)
    await _end(self, *work)


Dividing._end = _late  # type: ignore[method-assign]


class Counting:
    """Tells which process asks, and behind which number."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        url: str

    type: ClassVar[str] = "counting"

    def __init__(self, name: str, settings: Any) -> None:
        self._name, self._url = name, settings.url

    async def erase(self, values: Collection[str], source: cdmd.Source) -> int:
        await source.http.get(f"{self._url}/{self._name}/erased/{os.getpid()}")
        return int("email:gone@example.com" in {f"email:{one}" for one in values})

    async def run(self, source: cdmd.Source) -> None:
        after = int((await source.get([b"n"])).get(b"n", b"0"))
        while True:
            await source.http.get(f"{self._url}/{self._name}/{after}/{os.getpid()}")
            id_ = f"{self._name}-{after + 1}"
            record = cdmd.Record(
                value={
                    "id": id_,
                    "type": "order.paid",
                    "identifiers": {"email": f"{self._name}@example.com"},
                },
                received=source.clock.now(),
                fallback_id=id_,
            )
            after += 1
            await source.emit([record], state={b"n": b"%d" % after})
            await source.idle(source.clock.now() + timedelta(milliseconds=100), "the next number")


@cdmd.hookimpl
def cdmd_connectors() -> list[Any]:
    return [Counting]
