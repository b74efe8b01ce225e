"""What is remembered of extensions, and which of it stands in for plugins that are not there."""

import pytest

from cdmd.contracts import Extension
from cdmd.extensions import extension
from cdmd.extensions.absent import Remembered, standing


def declared(name: str = "ask", on_failure: str = "hold") -> Extension:
    return extension(["order.*"], timeout=2.0, on_failure=on_failure, name=name)(lambda event, context: None)


HELD = Remembered(plugin="till", name="ask", on=("order.*",), timeout=2.0, on_failure="hold")
OFF = Remembered(plugin="till", name="ask", on=("order.*",), timeout=2.0, on_failure="hold", off=True)


def test_what_a_plugin_declares_is_remembered_but_for_what_may_be_stored_without_it() -> None:
    found = standing([], [("till", [declared(), declared("may", "store"), declared("must", "reject")])], {"till": "enabled"})
    assert [one.name for one in found.remembered] == ["ask", "must"]
    assert (found.remembered[0], found.absent) == (HELD, [])


def test_an_extension_that_its_plugin_no_longer_declares_is_forgotten() -> None:
    assert standing([HELD], [("till", [])], {"till": "enabled"}) == ([], [])


@pytest.mark.parametrize("states", [{"till": "load error"}, {"till": "bad config"}, {}])
def test_what_is_not_loaded_stands_in_also_where_its_plugin_is_gone_without_a_word(states: dict[str, str]) -> None:
    assert standing([HELD], [], states) == ([HELD], [HELD])


def test_what_is_disabled_holds_nothing_and_is_forgotten_once_it_is_gone() -> None:
    assert standing([HELD], [], {"till": "disabled"}) == ([OFF], [])
    assert standing([OFF], [], {"till": "disabled"}) == ([OFF], [])
    assert standing([OFF], [], {}) == ([], [])


def test_what_was_disabled_and_is_wanted_again_stands_in() -> None:
    assert standing([OFF], [], {"till": "load error"}) == ([HELD], [HELD])


def test_what_stands_in_says_what_its_plugin_said() -> None:
    stand_in = HELD.stand_in()
    assert (stand_in.name, stand_in.on, stand_in.timeout, stand_in.on_failure) == ("ask", ("order.*",), 2.0, "hold")
