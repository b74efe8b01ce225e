"""Predefined connectors laid under a user's table: what wins, whose mistake it is, and plugins that bring their own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cdmd.config.library import Library, Unusable
from cdmd.config.schema import Absent, Config
from cdmd.errors import ConfigInvalid

HEAD = 'title = "T"\nkind = "fat"\nsummary = "S"\nverified = "V"\nsnippet = "use"\n'
HUB = (
    HEAD
    + """
[connector]
type = "webhook"
verify = { header = "x-hub", algorithm = "sha1", tolerance = "9m" }
accept = ["hub.*"]
freshness = "5s"
[connector.event]
type = "hub.{kind}"
identifiers = { email = "{mail}" }
traits = "*"
data = { total = "{total}" }
"""
)
FILES = (
    HEAD
    + '[connector]\ntype = "files"\nauth = { type = "basic", username = "u", password = "env:TOKEN" }\nfiles = ["a", "b"]\n'
)

CRM = """
title = "T"
kind = "target"
summary = "S"
verified = "V"
snippet = "use"
[target]
type = "crm"
url = "https://crm.example"
events = ["profile.*"]
record = { type = "contact", mail = "{profile.identifiers.email}", name = { first = "{profile.traits.first_name}" } }
"""


class Crm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target type of the tests."""

    url: str
    record: dict[str, Any] = {}


Loading = Callable[..., Config]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "entries"
    folder.mkdir()
    (folder / "hub.toml").write_text(HUB)
    (folder / "area.toml").write_text(FILES)
    (folder / "crm.toml").write_text(CRM)
    (folder / "both.toml").write_text(HUB + CRM[CRM.index("[target]") :])
    return folder


@pytest.fixture
def using(loading: Loading, folder: Path) -> Loading:
    """``loading`` with the entries of the folder."""
    return partial(loading, library=Library({"": folder}))


@pytest.fixture
def mistaken(mistakes: Callable[..., list[str]], folder: Path) -> Callable[..., list[str]]:
    """``mistakes`` with the entries of the folder."""
    return partial(mistakes, library=Library({"": folder}))


def test_an_entry_is_as_if_the_user_had_written_it(using: Loading, tmp_path: Path) -> None:
    one = using('[connectors.x]\nuse = "hub"\nsecrets = ["env:TOKEN"]').connectors["x"]
    assert one.frame.use == "hub"
    assert one.frame.type == "webhook"
    assert one.frame.accept == ("hub.*",)
    assert one.frame.event is not None
    assert one.frame.event.type == "hub.{kind}"
    assert one.settings.verify.header == "x-hub"
    assert one.settings.secrets[0].reveal() == b"geheim-4711"
    assert one.file == str(tmp_path / "cdmd.toml")


def test_the_users_keys_win_tables_merge_and_lists_replace(using: Loading) -> None:
    config = using("""
        [connectors.x]
        use = "hub"
        accept = ["hub.a", "hub.b"]
        verify = { tolerance = "1m" }
        event = { type = "mine", identifiers = { crm = "{id}" }, traits = { name = "{name}" }, data = "*" }
        [connectors.y]
        use = "hub"
        """)
    x, y = config.connectors["x"], config.connectors["y"]
    assert x.frame.accept == ("hub.a", "hub.b")
    assert str(x.settings.verify.tolerance) == "1m"
    assert x.settings.verify.algorithm == "sha1"
    assert x.frame.event is not None
    assert x.frame.event.type == "mine"
    assert x.frame.event.identifiers == {"email": "{mail}", "crm": "{id}"}
    assert x.frame.event.traits == {"name": "{name}"}
    assert x.frame.event.data == "*"
    assert y.frame.event is not None
    assert y.frame.event.identifiers == {"email": "{mail}"}  # what one user wrote is not in another's


def test_an_empty_text_takes_a_key_out_of_the_mapping_and_nowhere_else(using: Loading) -> None:
    one = using("""
        [connectors.x]
        use = "hub"
        event = { type = "", identifiers = { email = "" }, data = { total = "", kept = "{kept}" } }
        verify = { header = "" }
        """).connectors["x"]
    assert one.frame.event is not None
    assert (one.frame.event.type, one.frame.event.identifiers) == (None, {})
    assert one.frame.event.data == {"kept": "{kept}"}
    assert one.settings.verify.header == ""


def test_a_table_of_another_type_replaces_the_entrys(using: Loading) -> None:
    one = using('[connectors.x]\nuse = "area"\nauth = { type = "bearer", token = "env:TOKEN" }\nfiles = ["c"]').connectors["x"]
    assert one.settings.auth.token.reveal() == b"geheim-4711"
    assert one.settings.files == ["c"]
    signed = using('[connectors.x]\nuse = "hub"\nverify = { header = "x", algorithm = "sha256" }').connectors["x"]
    assert (signed.settings.verify.header, str(signed.settings.verify.tolerance)) == ("x", "5m")
    kept = using('[connectors.x]\nuse = "area"\nauth = { username = "me" }').connectors["x"]
    assert (kept.settings.auth.username, kept.settings.auth.password.reveal()) == ("me", b"geheim-4711")


def test_what_is_in_force_is_shown_whole(using: Loading) -> None:
    shown = using('[connectors.x]\nuse = "hub"\nfreshness = "9s"').effective["connectors"]["x"]
    assert (shown["use"], shown["type"], shown["freshness"]) == ("hub", "webhook", "9s")
    assert shown["verify"]["header"] == "x-hub"
    assert shown["event"]["data"] == {"total": "{total}"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('use = "hbu"', ["cdmd.toml: connectors.x.use: there is no predefined connector 'hbu' (did you mean hub?)"]),
        ('use = "zz"', ["cdmd.toml: connectors.x.use: there is no predefined connector 'zz' (`cdmd library` lists them)"]),
        (
            "use = 7",
            ["cdmd.toml: connectors.x.use: expected text, got an integer", "cdmd.toml: connectors.x.type: missing key"],
        ),
        (
            'use = "hub"\ntype = "files"',
            ['cdmd.toml: connectors.x.type: hub of the library is of type "webhook"; leave this key out'],
        ),
        ('use = "hub"\nacept = []', ["cdmd.toml: connectors.x.acept: unknown key (did you mean accept?)"]),
        ('use = "hub"\nevent = 5', ["cdmd.toml: connectors.x.event: expected a table, got an integer"]),
        (
            'use = "hub"\nevent = { data = { total = "{tot" } }',
            ["cdmd.toml: connectors.x.event.data.total: not a template: column 1: a closing } is missing"],
        ),
        ('use = "hub"\nverify = { header = 5 }', ["cdmd.toml: connectors.x.verify.header: expected text, got an integer"]),
        ('use = "area"\nport = 23', ["cdmd.toml: connectors.x: telnet is not a way to fetch files"]),
    ],
)
def test_a_mistake_is_told_where_it_was_made(mistaken: Callable[..., list[str]], text: str, told: list[str]) -> None:
    found = mistaken(f"[connectors.x]\n{text}")
    assert [line[: len(wanted)] for line, wanted in zip(sorted(found), sorted(told), strict=True)] == sorted(told)


def test_a_mistake_of_an_entry_is_told_with_the_entrys_file(
    mistaken: Callable[..., list[str]], folder: Path, environment: dict[str, str]
) -> None:
    (folder / "bad.toml").write_text(HEAD + '[connector]\ntype = "webhook"\nverify = "github"\nfrshness = "1s"\n')
    (folder / "odd.toml").write_text(HEAD + 'conector = 1\n[connector]\ntype = "webhook"\n')
    (folder / "broken.toml").write_text("[connector\n")
    del environment["TOKEN"]
    text = "".join(
        f'[connectors.{name}]\nuse = "{used}"\n' for name, used in zip("abcd", ["bad", "odd", "broken", "area"], strict=True)
    )
    found = mistaken(text, library=Library({"": folder}))
    assert found[0].startswith("entries/odd.toml: cannot be used: Object contains unknown field `conector`")
    assert found[1].startswith("entries/broken.toml: cannot be used: ")
    assert found[2] == "entries/bad.toml: connectors.a.frshness: unknown key (did you mean freshness?)"
    assert found[3:] == ["entries/area.toml: connectors.d.auth.password: env:TOKEN is not set in the environment"]


@pytest.mark.parametrize("text", ["connectors = 5", "[connectors]\nx = 5", '[connectors.x]\ntype = "webhook"\nverify = "none"'])
def test_what_uses_nothing_is_left_alone(using: Loading, text: str) -> None:
    try:
        config = using(text)
    except ConfigInvalid as caught:
        assert all("expected a table" in problem for problem in caught.problems)  # noqa: PT017 - either way it is left alone
    else:
        assert config.connectors["x"].frame.use is None


def plugin(name: str, module: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, module=module)


def test_a_plugin_brings_entries_in_a_folder_of_its_package_and_is_not_imported(
    using: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("cdmd_shop", "cdmd_deep/inner"):
        entries = tmp_path / "site" / package / "library"
        entries.mkdir(parents=True)
        (entries / "till.toml").write_text(HUB)
        for folder in (entries.parent, tmp_path / "site" / package.split("/")[0]):
            (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    (tmp_path / "site" / "cdmd_single.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    library = Library.installed(
        [
            plugin("shop", "cdmd_shop"),
            plugin("deep", "cdmd_deep.inner"),
            plugin("single", "cdmd_single"),
            plugin("gone", "cdmd_gone"),
            plugin("odd", ""),
        ]
    )
    assert [name for name in library.names() if "/" in name] == ["deep/till", "shop/till"]
    assert library.nearest("til")[0] in {"deep/till", "shop/till"}
    assert using('[connectors.x]\nuse = "shop/till"', library=library).connectors["x"].frame.accept == ("hub.*",)


def test_an_entry_of_a_plugin_that_is_gone_stops_its_connector_only(using: Loading, mistaken: Callable[..., list[str]]) -> None:
    text = '[connectors.x]\nuse = "shop/till"\n[connectors.y]\nuse = "hub"'
    config = using(text, absent="the plugin shop is not there")
    assert isinstance(config.connectors["x"].settings, Absent)
    assert config.connectors["y"].frame.type == "webhook"
    assert config.warnings[0].endswith('shop/till"; the plugin shop is not there')
    assert mistaken(text)[0].startswith("cdmd.toml: connectors.x.use: there is no predefined connector 'shop/till'")


def test_a_target_is_laid_under_a_targets_table(using: Loading) -> None:
    text = '[targets.mine]\nuse = "crm"\nevents = ["order.*"]\nrecord = { type = "lead", mail = "", name = { last = "{x}" } }\n'
    one = using(text, targets={"crm": Crm}).targets["mine"]
    assert (one.frame.type, one.frame.use, one.frame.events) == ("crm", "crm", ("order.*",))
    name = {"first": "{profile.traits.first_name}", "last": "{x}"}
    assert one.settings == Crm(url="https://crm.example", record={"type": "lead", "name": name})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[connectors.x]\nuse = "crm"', "connectors.x.use: crm of the library is a target: it belongs into [targets.x]"),
        ('[targets.x]\nuse = "hub"', "targets.x.use: hub of the library is a connector: it belongs into [connectors.x]"),
        ('[targets.x]\nuse = "cmr"', "targets.x.use: there is no predefined target 'cmr' (did you mean crm?)"),
        ('[targets.x]\nuse = "crm"\ntype = "y"', 'targets.x.type: crm of the library is of type "crm"; leave this key out'),
        ('[targets.x]\nuse = "both"', "it has one table [target] where its kind is target, else one [connector]"),
    ],
)
def test_what_belongs_elsewhere_is_said(text: str, problem: str, mistaken: Callable[..., list[str]]) -> None:
    (said,) = mistaken(text, targets={"crm": Crm})
    assert problem in said


def test_an_entry_is_written_out_under_the_connectors_name(folder: Path) -> None:
    library = Library({"": folder})
    text = library.written_out("hub", called="mine")
    assert text.startswith('[connectors.mine]\ntype = "webhook"')
    assert "[connectors.mine.event]" in text
    assert "summary" not in text
    (folder / "inline.toml").write_text(HEAD + 'connector = { type = "webhook" }\n')
    assert library.page("hub") == ""
    (folder / "hub.md").write_text("## Page\n")
    assert library.page("hub") == "## Page"
    (folder / "hub.md").write_bytes(b"\xff")
    with pytest.raises(Unusable, match=r"hub\.md: cannot be read"):
        library.page("hub")
    assert Library({"": folder}).written_out("inline", called="x") == ""
    (folder / "hub.toml").unlink()
    with pytest.raises(Unusable, match="cannot be read"):
        library.written_out("hub", called="x")
    with pytest.raises(Unusable, match="cannot be read"):
        library.entry("hub")
