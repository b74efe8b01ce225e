"""What plugins rely on only grows, and the plugins that try it are as their authors left them."""

import hashlib
from pathlib import Path

import cdmd
from tests.house.reading import ROOT
from tests.plugins.contract import added, broken, described, recorded, together

FROZEN = ROOT / "tests" / "plugins" / "frozen"


def test_a_frozen_plugin_is_as_its_author_left_it() -> None:
    listed = dict(reversed(line.split("  ")) for line in (FROZEN / "SHA256SUMS").read_text().splitlines())
    there = {str(file.relative_to(FROZEN)): _digest(file) for file in sorted(FROZEN.rglob("*.py"))}
    assert there == listed, (
        "a frozen plugin never changes: mend cdmd, or add plugins of a later version in a folder of their own"
    )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_nothing_that_plugins_rely_on_is_gone_or_asks_for_more() -> None:
    assert broken(together(recorded()), described()) == []


def test_what_plugins_may_rely_on_from_now_on_is_recorded() -> None:
    assert added(together(recorded()), described()) == {}, "record it: python -m tests.plugins.contract"
    versions = [tuple(map(int, version.split("."))) for version in recorded()]
    assert max(versions) == cdmd.HOOKS_VERSION


def test_what_would_break_a_plugin_is_noticed() -> None:
    promised = {"cdmd.Thing": {"id!", "kept", "ask", "ask.url!"}, "cdmd_hook": {"context"}, "cdmd.Gone": set()}
    now = {"cdmd.Thing": ["id", "more", "needed!", "ask", "ask.url!", "ask.why!"], "cdmd_hook": []}
    assert broken(promised, now) == [
        "cdmd.Gone is gone",
        "cdmd.Thing: ask.why has to be given",
        "cdmd.Thing: kept is gone",
        "cdmd.Thing: needed has to be given",
        "cdmd_hook: context is gone",
    ]
    assert added(promised, {**now, "cdmd.New": []}) == {"cdmd.Thing": ["more", "needed!", "ask.why!"], "cdmd.New": []}
