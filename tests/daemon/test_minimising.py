"""What arrived and was not kept is counted of some of the records, by connector and field."""

from pathlib import Path

import msgspec
import pytest

from cdmd.daemon.governing import Governing
from tests.daemon.doubles import World, record

pytestmark = pytest.mark.anyio
CONFIG = """
[connectors.shop]
type = "told"
[connectors.shop.event]
id = "{id}"
type = "{type}"
identifiers = { email = "{identifiers.email}" }
[connectors.whole]
type = "told"
[connectors.whole.event]
data = "*"
[connectors.own]
type = "told"
"""


async def test_one_request_of_many_is_looked_at_and_no_value_is_kept(tmp_path: Path) -> None:
    async with World(tmp_path, CONFIG).parts() as parts:
        for number in range(129):
            await parts.connectors.get("shop").source.emit([record(f"{number}")])
        for name in ("whole", "own"):
            await parts.connectors.get(name).source.emit([record(name)])
        await parts.connectors.get("whole").source.emit([])
        parts.privacy.minimising.observe("gone", record("1"))
        parts.privacy.minimising.observe("shop", msgspec.structs.replace(record("1"), final=True))
        found = {row.connector: (row.records, dict(row.fields)) for row in Governing(parts).minimised()}
        assert found == {"shop": (2, {"data.n": 2}), "whole": (1, {})}
        assert "joe" not in str(found)
