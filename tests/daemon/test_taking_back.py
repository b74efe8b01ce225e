"""Dead letters that their connector retries itself leave the dead letters once it has taken them up."""

import json
from pathlib import Path
from typing import Any

import pytest

from cdmd.contracts import DeadLetterFilter
from cdmd.daemon.running import Running
from cdmd.kit.presets import presets
from tests.daemon.doubles import World, applied, asked

pytestmark = pytest.mark.anyio
presets()

THIN = """
[connectors.survey]
type = "webhook"
verify = "none"
records = "{items}"
[connectors.survey.fetch]
url = "https://api.example/things/{id}"
key = "{KEY}"
settle = "1h"
"""
ALL = DeadLetterFilter()


async def dead(parts: Any) -> list[str]:
    await applied(parts)
    return [letter.fault.code for letter in await parts.store.dead_letters(ALL)]


async def test_notifications_that_had_no_key_are_taken_up_once_the_configuration_finds_one(tmp_path: Path) -> None:
    world = World(tmp_path, THIN.replace("KEY", "number"))
    async with world.parts() as parts, asked(parts) as http:
        items = [{"id": "a", "no": 1}, {"id": "b", "no": 2}, {"id": "../c", "no": 3}]
        told = await http.post(
            "/hooks/survey", content=json.dumps({"items": items}), headers={"content-type": "application/json"}
        )
        assert [one["code"] for one in told.json()["rejected"]] == ["key_refused"] * 3
        assert await dead(parts) == ["key_refused"] * 3
        running = Running(parts)
        assert await running.take_back(ALL) == 0
        world.configure(THIN.replace("KEY", "no"))
        await running.reload()
        assert await running.take_back(DeadLetterFilter(connector="other")) == 0
        assert await running.take_back(DeadLetterFilter(code="fetch_failed")) == 0
        assert await running.take_back(ALL) == 2
        assert await dead(parts) == ["key_refused"], "what still names no plain key stays"
        marks = [key async for key, _ in parts.journal.scan("survey", b"thin/due/")]
        assert len(marks) == 2


async def test_what_was_not_kept_whole_stays_a_dead_letter(tmp_path: Path) -> None:
    world = World(tmp_path, "[dead_letters]\nraw = false\n" + THIN.replace("KEY", "number"))
    async with world.parts() as parts, asked(parts) as http:
        await http.post("/hooks/survey", content=b'{"items":[{"id":"a"}]}', headers={"content-type": "application/json"})
        assert await dead(parts) == ["key_refused"]
        assert await Running(parts).take_back(ALL) == 0
