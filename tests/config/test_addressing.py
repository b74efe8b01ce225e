"""That each target has something to send: events, or an audience that there is."""

from pathlib import Path

import pytest

from cdmd.config.loading import load
from cdmd.errors import ConfigInvalid
from cdmd.targets import cdmd_targets

TARGETS = {one.type: one.Settings for one in cdmd_targets()}
FOLDER = '[audiences.vips]\nwhere = "true"\n[targets.t]\ntype = "folder"\npath = "/out"\nat = "02:30"\n'


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ('audience = "vips"', []),
        ('events = ["order.*"]', []),
        ("", ["targets.t.events: is missing: nothing would ever be sent"]),
        ('audience = "vip"', ["targets.t.audience: there is no audience 'vip' (did you mean vips?)"]),
        (
            'audience = "vips"\nevents = ["*"]\nwhere = "true"',
            [f"targets.t.{key}: has no meaning beside an audience, whose members are written" for key in ("events", "where")],
        ),
    ],
)
def test_a_target_has_something_to_send(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    file = tmp_path / "cdmd.toml"
    file.write_text(FOLDER + text)
    found: list[str] = []
    try:
        load(file, environment={"HOME": str(tmp_path)}, randomness=bytes, types={}, targets=TARGETS)
    except ConfigInvalid as error:
        found = [line.partition(": ")[2] for line in error.problems]
    assert found == mistakes
