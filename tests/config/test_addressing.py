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
        ('events = ["*"]\ntimeout = "0s"', ["targets.t.timeout: is no time to send anything in"]),
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


def test_an_event_that_is_called_much_like_our_news_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"
    file.write_text(FOLDER + 'events = ["audience.entred", "target.failed", "target.failing", "profile.*", "order.paid"]')
    config = load(file, environment={"HOME": str(tmp_path)}, randomness=bytes, types={}, targets=TARGETS)
    sent = "is sent only if a connector brings events of that type"
    assert [line.partition(": ")[2] for line in config.warnings] == [
        f"targets.t.events.0: 'audience.entred' {sent} (did you mean audience.entered?)",
        f"targets.t.events.1: 'target.failed' {sent} (did you mean target.failing?)",
    ]
