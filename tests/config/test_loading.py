# ruff: noqa: E501 - a row of a table stays a row

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdmd.config.loading import SECTIONS, load
from cdmd.config.schema import Absent, Config
from cdmd.connectors.applications import Application
from cdmd.connectors.rest import Rest
from cdmd.connectors.webhooks import Webhook
from cdmd.errors import ConfigInvalid

SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "github"\nsecrets = ["env:TOKEN"]\n'
FILES = '[connectors.in]\ntype = "files"\nauth = { type = "basic", username = "u", password = "env:TOKEN" }\n'

Loader = Callable[..., Config]
Mistakes = Callable[..., list[str]]


def test_a_configuration_is_loaded_with_its_defaults(loading: Loader, tmp_path: Path) -> None:
    config = loading('[http]\nlisten = ["[::1]:0", "fd:http"]\n[daemon]\nstate_dir = "/srv/cdmd"\n' + SHOP + FILES)
    assert config.http.listen == ("[::1]:0", "fd:http")
    assert config.http.max_connections == 2000
    assert config.state_dir == Path("/srv/cdmd")
    assert config.connectors["shop"].settings.secrets[0].reveal() == b"geheim-4711"
    assert config.connectors["shop"].frame.accept == ("*",)
    assert config.connectors["shop"].file == str(tmp_path / "cdmd.toml")
    assert config.connectors["in"].settings.auth.username == "u"
    assert config.warnings == ()


def test_ten_mistakes_are_ten_lines(mistakes: Mistakes) -> None:
    found = mistakes(
        """
        [http]
        lisen = ["127.0.0.1:1"]
        max_body = "1MB"
        max_connections = 0
        [journal]
        keep = 7
        [quue]
        [connectors.shop]
        type = "webook"
        where = "event.x =="
        event = { id = "{id", identifers = {} }
        [connectors.crm]
        type = "webhook"
        verify = "github"
        secrets = ["env:NOWHERE"]
        """
    )
    assert found == [
        "cdmd.toml: quue: unknown key (did you mean queue?)",
        "cdmd.toml: http.lisen: unknown key (did you mean listen?)",
        "cdmd.toml: http.max_body: '1MB' is not a size: write one integer and one of B, KiB, MiB, GiB, for example \"64MiB\"",
        "cdmd.toml: http.max_connections: expected an integer >= 1",
        "cdmd.toml: journal.keep: expected a duration, got an integer",
        "cdmd.toml: connectors.shop.event.identifers: unknown key (did you mean identifiers?)",
        "cdmd.toml: connectors.shop.where: not a condition: 1:11: it ends too early",
        "cdmd.toml: connectors.shop.event.id: not a template: column 1: a closing } is missing",
        'cdmd.toml: connectors.shop.type: there is no connector type "webook" (did you mean webhook?)',
        "cdmd.toml: connectors.crm.secrets.0: env:NOWHERE is not set in the environment",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[http]\nlisten = 'x'", "http.listen: expected a list, got text"),
        ("[http]\nlisten = [1]", "http.listen.0: expected text, got an integer"),
        ("[http]\nlisten = ['8787']", "http.listen.0: '8787' is not an address: write HOST:PORT, [IPV6]:PORT or fd:NAME"),
        ("[http]\nlisten = ['::1:8787']", "http.listen.0: '::1:8787' is not an address: write HOST:PORT, [IPV6]:PORT or fd:NAME"),
        ("[http]\nlisten = ['[x]:8787']", "http.listen.0: '[x]:8787' is not an address: write HOST:PORT, [IPV6]:PORT or fd:NAME"),
        ("[http]\nlisten = ['a b:1']", "http.listen.0: 'a b:1' is not an address: write HOST:PORT, [IPV6]:PORT or fd:NAME"),
        ("[http]\nlisten = ['a:65536']", "http.listen.0: 'a:65536': a port is at most 65535"),
        ("[http]\nlisten = ['fd:']", "http.listen.0: fd: needs the name of an inherited socket"),
        ("[http]\npublic_url = 'in.example.com'", "http.public_url: 'in.example.com' is not an http or https URL"),
        ("[http]\npublic_url = 'http://[x'", "http.public_url: 'http://[x' is not an http or https URL"),
        ("http = 1", "http: expected a table, got an integer"),
        ("[daemon]\nlog_level = 'inof'", 'daemon.log_level: "inof" is none of "debug", "info", "warning", "error" (did you mean info?)'),
        ("[daemon]\nlog_level = 3", 'daemon.log_level: an integer is none of "debug", "info", "warning", "error"'),
        ("[daemon]\ndrain = 2026-01-01", "daemon.drain: expected a duration, got a date or time"),
        ("[dead_letters]\nraw = 'no'", "dead_letters.raw: expected true or false, got text"),
        ("[network]\nallow_addresses = ['10.0.0.1/8']", "network.allow_addresses.0: 10.0.0.1/8 has host bits set"),
        ("[network]\nallow_addresses = ['intern']", "network.allow_addresses.0: 'intern' does not appear to be an IPv4 or IPv6 network"),
        ("[identity.identifiers]\nphone = { region = 'XX' }", "identity.identifiers.phone.region: 'XX' is no region whose phone numbers are known"),
        ("[identity.identifiers]\nemail = { blocked = ['[[:alpha:]]+'] }", "identity.identifiers.email.blocked.0: '[[:alpha:]]+' has [[:alpha:]: a set"),
        ("[identity.identifiers]\nemail = { blocked = ['x[^[a]'] }", "identity.identifiers.email.blocked.0: 'x[^[a]' has [^[a]: a set"),
        ("[identity.identifiers]\nemail = { blocked = ['[a-z--b]'] }", "identity.identifiers.email.blocked.0: '[a-z--b]' has [a-z--b]: a set"),
        ("[identity.identifiers]\nemail = { blocked = ['[a&&b]'] }", "identity.identifiers.email.blocked.0: '[a&&b]' has [a&&b]: a set"),
        ("[identity.identifiers]\nemail = { blocked = ['('] }", "identity.identifiers.email.blocked.0: '(' is not a regular expression"),
        ("[identity.identifiers]\n'E-post adress' = { limt = 1 }", 'identity.identifiers."E-post adress".limt: unknown key (did you mean limit?)'),
        ("[indicators.a]\non = 'x'\ncompute = 'sum'", "indicators.a.value: missing key: sum needs a value"),
        ("[indicators.a]\non = []", "indicators.a.on: matches nothing: name at least one event type"),
        ("[indicators.a]", "indicators.a.on: missing key (or, to calculate it from other indicators, a `value`)"),
        ("[indicators.a]\nvalue = '{'", "indicators.a.value: not an expression: 1:2: it ends too early"),
        ("[indicators.a]\nvalue = '1.0'", "indicators.a.value: name the indicators that it is calculated from (indicators.NAME)"),
        ("[indicators.a]\nvalue = 'size(indicators)'", "indicators.a.value: name the indicators that it is calculated from (indicators.NAME)"),
        ("[indicators.a]\nvalue = 'indicators.oders'\n[indicators.orders]\non = 'x'", "indicators.a.value: there is no indicator oders (did you mean orders?)"),
        ("[indicators.a]\nvalue = 'indicators.a'", "indicators.a.value: it is calculated from itself: a from a"),
        ("[indicators.a]\nvalue = 'indicators.a'\nwindow = '1d'", "indicators.a.window: an indicator without `on` is calculated from others: it has none of its own"),
        ("[indicators.a]\nvalue = 'indicators.a'\ncompute = 'sum'", "indicators.a.compute: an indicator without `on` is calculated by its value alone"),
        ("[indicators.a]\non = 'x'\n[indicators.b]\nvalue = 'indicators.a / 2'", "indicators.b.value: indicators.a / 2: the kinds of values do not fit together (CEL does not convert between text and numbers); write numbers with a decimal point (2.0), the indicators are doubles here"),
        ("[indicators.a]\non = 'x'\nwhere = 'event.'", "indicators.a.where: not a condition: "),
        ("[indicators.a]\non = 'x'\nvalue = '{'", "indicators.a.value: not a template: column 1: a closing } is missing"),
        ("[indicators.'a b']\non = 'x'", 'indicators."a b": a name has letters, digits, _ and - only'),
        ("[indicators]\na = 1", "indicators.a: expected a table"),
        ("indicators = 1", "indicators: expected a table of tables"),
        ("[targets.crm]", "targets.crm.type: missing key"),
        ("[traits.x]\ntrust = 'crm'", "traits.x.trust: expected a list, got text"),
        ("[traits.x]\ntrust = ['shpo.web']\n[connectors.shop]\ntype = 'webhook'\nverify = 'none'", "traits.x.trust.0: there is no connector shpo (did you mean shop?)"),
        ("[traits.x]\ntrust = ['shop', 'shop']\n[connectors.shop]\ntype = 'webhook'\nverify = 'none'", "traits.x.trust.1: shop stands there twice"),
        ("[audiences.x]", "audiences.x.where: missing key"),
        ("[audiences.'a b']\nwhere = 'true'", 'audiences."a b": a name has letters, digits, _ and - only'),
        ("[audiences.x]\nwhere = 'indicators.oders > 1'\n[indicators.orders]\non = 'x'", "audiences.x.where: there is no indicator oders (did you mean orders?)"),
        ("[audiences.x]\nwhere = 'profile.trait.vip'", "audiences.x.where: a profile has no trait, only identifiers, traits, created, updated (did you mean traits?)"),
        ("[audiences.x]\nwhere = 'event.data.total > 1'", "audiences.x.where: not a condition: there is no event here, only profile, indicators, now; an audience has no event, it is about a customer"),
        ("[audiences.x]\nwhere = 'indicators. >'", "audiences.x.where: not a condition: "),
        (SHOP + "where = 'event.data.total >'", "connectors.shop.where: not a condition: 1:19: it ends too early"),
        ("[indicators.a]\non = 'x'\nstep = '1h'", "indicators.a.step: there is no window that it could move"),
        ("[indicators.a]\non = 'x'\nwindow = '3650d'", "indicators.a.window: the window 3650d is 3650 steps of 1440m (chosen where none is set), and at most 400 are kept: set a step of at least 13140m"),
        ("[connectors.a]", "connectors.a.type: missing key"),
        ("[connectors.a]\ntype = 1", "connectors.a.type: expected text, got an integer"),
        ("[connectors.a]\ntype = 'webhook'", "connectors.a.verify: missing key"),
        (SHOP + "acept = []", "connectors.shop.acept: unknown key (did you mean accept?)"),
        (SHOP + "accept = ['']", "connectors.shop.accept: '' is not an event type"),
        (SHOP + "quota = '100'", "connectors.shop.quota: '100' is not a rate"),
        (SHOP + "event = { traits = 'x' }", 'connectors.shop.event.traits: "x" is none of "*"'),
        (SHOP + "event = { data = { a = '{b' } }", "connectors.shop.event.data.a: not a template"),
        (SHOP + "event = { type = 5 }", "connectors.shop.event.type: expected text, got an integer"),
        (SHOP.replace("shop]", "'my.shop']"), 'connectors."my.shop": a connector\'s name has letters, digits, _ and - only'),
        (SHOP.replace('"github"', '"gitub"'), 'connectors.shop.verify: "gitub" is none of "bearer", "github", "standard-webhooks", "none" (did you mean github?)'),
        (SHOP.replace('"github"', "[]"), "connectors.shop.verify: expected one of its words or a table, got a list"),
        (SHOP.replace('"github"', "{ algorithm = 'md5', header = 'x' }"), 'connectors.shop.verify.algorithm: "md5" is none of "sha1", "sha256"'),
        (SHOP.replace('["env:TOKEN"]', "['a', 'b', 'c']"), "connectors.shop.secrets: takes at most 2"),
        (FILES + "files = []", "connectors.in.files: needs at least 1"),
        (FILES + "port = 70000", "connectors.in.port: expected an integer <= 65535"),
        (FILES + "port = 23", "connectors.in: telnet is not a way to fetch files"),
        (FILES + "params = { a = 'x' }", "connectors.in.params.a: expected an integer, got text"),
        (FILES.replace("password", "pasword"), "connectors.in.auth.pasword: unknown key (did you mean password?)"),
        (FILES.replace("basic", "bsic"), 'connectors.in.auth.type: "bsic" is none of "bearer", "basic" (did you mean basic?)'),
        (FILES.replace('type = "basic",', ""), "connectors.in.auth.type: missing key"),
        (FILES.replace('{ type = "basic", username = "u", password = "env:TOKEN" }', "1"), "connectors.in.auth: expected a table, got an integer"),
        (FILES + "ratio = 'x'", "connectors.in.ratio: expected a number or true or false, got text"),
        (FILES + "port = true", "connectors.in.port: expected an integer, got true or false"),
        ("[identity.identifiers]\nemail = 1", "identity.identifiers.email: expected a table, got an integer"),
        (SHOP + "was = ['b', 'shop']", "connectors.shop.was: shop is already a name of the connector shop"),
        ("[plugins.w]\ntoken = 'env:NOWHERE'", "plugins.w.token: env:NOWHERE is not set in the environment"),
        ("[control]\nsocket = '/" + "x" * 120 + "'", "control.socket: the socket's path"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_key_and_reason(mistakes: Mistakes, text: str, mistake: str) -> None:
    found = mistakes(text)
    assert any(one.startswith(f"cdmd.toml: {mistake}") for one in found), found


def test_one_wrong_value_does_not_hide_the_next(mistakes: Mistakes) -> None:
    assert len(mistakes(SHOP + "quota = 1\nsecrets2 = 1\n[connectors.shop.event]\nid = 1\ntime = 2\n")) == 4


def test_a_wrong_required_value_does_not_hide_the_next_either(mistakes: Mistakes) -> None:
    assert mistakes(SHOP.replace('"github"', "5") + "quota = '1'\npath = 1\n") == [
        'cdmd.toml: connectors.shop.verify: an integer is none of "bearer", "github", "standard-webhooks", "none"',
        "cdmd.toml: connectors.shop.path: expected text, got an integer",
        "cdmd.toml: connectors.shop.quota: '1' is not a rate: write COUNT/DURATION, for example \"100/10s\"",
    ]


def test_conf_d_is_merged_in_name_order(loading: Loader, tmp_path: Path) -> None:
    config = loading("[http]\nmax_connections = 5\n", b=SHOP, a='[http]\nmax_body = "2MiB"\n')
    assert (config.http.max_connections, config.http.max_body.bytes) == (5, 2 * 2**20)
    assert config.files == tuple(str(tmp_path / name) for name in ("cdmd.toml", "conf.d/a.toml", "conf.d/b.toml"))
    assert config.connectors["shop"].file == str(tmp_path / "conf.d/b.toml")


def test_conf_d_alone_is_a_configuration(loading: Loader) -> None:
    assert list(loading(None, a=SHOP).connectors) == ["shop"]


def test_a_key_given_twice_is_a_mistake_that_names_both_files(mistakes: Mistakes) -> None:
    found = mistakes(SHOP, b=SHOP + "[http]\n", c="http = 1\n", d="[connectors.shop]\npath = '/x'\nno = 1\n")
    shop = [f"conf.d/b.toml: connectors.shop.{key}: also given in cdmd.toml" for key in ("type", "verify", "secrets")]
    assert found == [
        *shop,
        "conf.d/c.toml: http: also given in conf.d/b.toml",
        "conf.d/d.toml: connectors.shop.no: unknown key",
    ]


def test_a_syntax_error_is_one_mistake_and_the_other_files_are_still_checked(mistakes: Mistakes) -> None:
    found = mistakes("[http]\nlisten = \n", a="x = {\n", b="nope = 1\n")
    assert found == [
        "cdmd.toml: not TOML: Invalid value (at line 2, column 10)",
        "conf.d/a.toml: not TOML: Invalid initial character for a key part (at line 1, column 6)",
        "conf.d/b.toml: nope: unknown key",
    ]


def test_a_configuration_behind_a_closed_directory_is_no_crash(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, **_keywords: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load(None, types={}, environment=environment, randomness=bytes, default=tmp_path / "cdmd.toml")


def test_without_a_place_for_state_it_says_which_key(mistakes: Mistakes, environment: dict[str, str]) -> None:
    del environment["STATE_DIRECTORY"]
    assert mistakes("")[0].startswith("cdmd.toml: daemon.state_dir: no state directory")


def test_two_indicators_and_their_kinds(loading: Loader) -> None:
    config = loading("[indicators.a]\non = ['x', 'y*']\n[indicators.b]\non = 'x'\nvalue = '{data.n}'\ncompute = 'max'\n")
    assert config.indicators["a"].on == ("x", "y*")
    assert config.indicators["b"].compute == "max"


def test_broken_files_are_mistakes_and_no_crash(loading: Loader, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_bytes(b"x = '\xff'")
    (tmp_path / "conf.d" / "b.toml").write_bytes(b"x = " + b"[" * 100_000)
    (tmp_path / "conf.d" / "c.toml").mkdir()
    (tmp_path / "conf.d" / "d.toml").write_text('x = "')
    with pytest.raises(ConfigInvalid) as caught:
        loading("")
    found = [problem.partition(".toml: ")[2] for problem in caught.value.problems]
    assert found[:3] == ["byte 6 is not UTF-8", "not TOML: nested too deeply", "cannot be read: Is a directory"]
    assert found[3].startswith("not TOML: ")
    assert found[3].endswith("(at line 1, column 6, the end of the file)")


def test_the_file_is_the_option_then_the_environment_then_the_default(tmp_path: Path, environment: dict[str, str]) -> None:
    for name in ("option", "named", "default"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cdmd.toml").write_text("")

    def files(option: Path | None, **more: str) -> tuple[str, ...]:
        default = tmp_path / "default/cdmd.toml"
        return load(option, types={}, environment={**environment, **more}, randomness=bytes, default=default).files

    named = str(tmp_path / "named/cdmd.toml")
    assert files(tmp_path / "option/cdmd.toml", CDMD_CONFIG=named) == (str(tmp_path / "option/cdmd.toml"),)
    assert files(None, CDMD_CONFIG=named) == (named,)
    assert files(None) == (str(tmp_path / "default/cdmd.toml"),)


def test_a_file_that_was_asked_for_has_to_exist(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere.toml", types={}, environment=environment, randomness=bytes)


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_literal_secret_is_taken_with_a_warning(loading: Loader, tmp_path: Path) -> None:
    (tmp_path / "cdmd.toml").touch(mode=0o644)
    config = loading(SHOP.replace("env:TOKEN", "geheim-0815"))
    file = tmp_path / "cdmd.toml"
    assert config.warnings == (
        f"{file}: connectors.shop.secrets.0: a literal secret; write it as env:NAME, file:PATH or credential:NAME",
        f"{file}: holds a literal secret and others may read it (chmod 0600 {file})",
    )
    file.chmod(0o600)
    assert len(loading(SHOP.replace("env:TOKEN", "geheim-0815")).warnings) == 1


def test_no_secret_shows_in_anything_that_prints(loading: Loader) -> None:
    config = loading(SHOP.replace('"env:TOKEN"', '"env:TOKEN", "geheim-0815"') + FILES)
    shown = [repr(config), str(config), f"{config}", json.dumps(config.effective), str(config.warnings)]
    assert not any("geheim" in one for one in shown)
    assert config.effective["connectors"]["shop"]["secrets"] == ["env:TOKEN", "[secret]"]


def test_a_literal_secret_does_not_show_in_mistakes(mistakes: Mistakes) -> None:
    assert not any("geheim" in one for one in mistakes(SHOP.replace("env:TOKEN", "geheim-0815") + "nope = 1"))


def test_plugin_tables_are_plain_data_with_their_references_resolved(loading: Loader) -> None:
    config = loading("[plugins.warranty]\nurl = 'https://x'\nvalues = ['env:TOKEN', 'environment']\nn = { a = 1 }\n")
    assert config.plugins["warranty"] == {"url": "https://x", "values": ["geheim-4711", "environment"], "n": {"a": 1}}
    assert config.effective["plugins"]["warranty"]["values"] == ["env:TOKEN", "environment"]


def test_a_plugin_secret_has_to_be_text(mistakes: Mistakes, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    assert mistakes("[plugins.w]\nkey = 'file:binary'\n") == [
        "cdmd.toml: plugins.w.key: the secret file:binary is not UTF-8 text"
    ]


def test_a_connector_type_may_check_more(mistakes: Mistakes) -> None:
    def check(name: str, settings: Any) -> list[str]:
        return [f"verify: {settings.verify} is not for {name}", "this is a sentence"]

    assert mistakes(SHOP, checks={"webhook": check}) == [
        "cdmd.toml: connectors.shop.verify: github is not for shop",
        "cdmd.toml: connectors.shop: this is a sentence",
    ]


@pytest.mark.parametrize("found", [KeyError("joe@example.com"), None, 7])
def test_a_check_that_fails_itself_leaves_its_connector_out_and_the_others_in(loading: Loader, found: Any) -> None:
    def check(name: str, settings: Any) -> Any:
        if name == "shop" and isinstance(found, Exception):
            raise found
        return found if name == "shop" else []

    config = loading(f'{SHOP}path = "/in"\n{SHOP.replace("shop", "other")}', checks={"webhook": check})
    shop, other = config.connectors["shop"].settings, config.connectors["other"].settings
    assert isinstance(shop, Absent)
    assert (shop.path, other.verify) == ("/in", "github")
    assert shop.unavailable.startswith("its type webhook cannot check it: it raised ")
    (warning,) = config.warnings
    assert "connectors.shop: its type webhook cannot check it: it raised" in warning
    assert "joe@" not in warning


def test_a_check_may_find_one_thing_and_say_it_as_a_text(mistakes: Mistakes) -> None:
    assert mistakes(SHOP, checks={"webhook": lambda name, settings: "verify: is odd"}) == [
        "cdmd.toml: connectors.shop.verify: is odd"
    ]


def test_a_types_check_runs_beside_other_mistakes_but_not_on_what_stands_in_for_a_wrong_value(mistakes: Mistakes) -> None:
    def check(_name: str, settings: Any) -> list[str]:
        return ["verify: not github", *([] if settings.secrets else ["secrets: at least one"]), "a sentence about the whole"]

    assert mistakes(SHOP.replace("env:TOKEN", "env:NOWHERE"), checks={"webhook": check}) == [
        "cdmd.toml: connectors.shop.secrets.0: env:NOWHERE is not set in the environment",
        "cdmd.toml: connectors.shop.verify: not github",
    ]


def test_a_wrong_indicator_value_is_one_mistake(mistakes: Mistakes) -> None:
    assert mistakes("[indicators.a]\non = 1\nvalue = 2\ncompute = 'sum'\n") == [
        "cdmd.toml: indicators.a.on: expected a list or text, got an integer",
        "cdmd.toml: indicators.a.value: expected text, got an integer",
    ]


def test_an_earlier_name_belongs_to_one_connector(mistakes: Mistakes) -> None:
    other = SHOP.replace("shop]", "other]")
    assert mistakes(SHOP + "was = ['old']\n" + other + "was = ['old']\n") == [
        "cdmd.toml: connectors.other.was: old is already a name of the connector shop"
    ]


# ---- embedded defaults -----------------------------------------------------------------------------------------------


def test_without_a_configuration_there_is_an_inbox_with_a_token_in_the_state_directory(loading: Loader, tmp_path: Path) -> None:
    config = loading(None, make_token=True)
    token = tmp_path / "state/inbox.token"
    inbox = config.connectors["inbox"]
    assert (inbox.frame.type, inbox.settings.verify) == ("webhook", "bearer")
    assert [secret.reveal() for secret in inbox.settings.secrets] == [token.read_bytes().strip()]
    assert token.read_bytes() == b"A" * 32 + b"\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert config.effective["connectors"]["inbox"]["secrets"] == [f"file:{token}"]
    assert config.files == ()


def test_the_token_is_made_once(loading: Loader, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/inbox.token").write_text("kept\n")
    assert loading(None, make_token=True).connectors["inbox"].settings.secrets[0].reveal() == b"kept"


def test_loading_alone_writes_nothing(loading: Loader, tmp_path: Path) -> None:
    config = loading(None)
    assert config.connectors["inbox"].settings.secrets[0].reveal() == b"A" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_cannot_be_written_is_a_mistake(mistakes: Mistakes, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    found = mistakes(None, make_token=True)
    assert found[0].startswith("defaults: connectors.inbox.secrets: the token cannot be written to state/inbox.token: ")


def test_with_any_configuration_there_is_no_inbox(loading: Loader) -> None:
    assert loading("").connectors == {}


def test_without_a_webhook_type_there_is_no_inbox(tmp_path: Path, environment: dict[str, str]) -> None:
    config = load(None, types={}, environment=environment, randomness=bytes, default=tmp_path / "cdmd.toml")
    assert config.connectors == {}


def test_the_effective_configuration_is_all_of_it(loading: Loader, tmp_path: Path) -> None:
    shown = loading(SHOP + FILES + "extra = 2026-01-01\n[indicators.a]\non = 'x'\n").effective
    assert shown["http"]["max_body"] == "1MiB"
    assert shown["daemon"]["state_dir"] == str(tmp_path / "state")
    assert shown["control"]["socket"] == str(tmp_path / "state/control.sock")
    assert shown["identity"]["identifiers"]["email"]["limit"] == 5
    assert shown["indicators"]["a"] == {"on": "x", "compute": "count", "thresholds": []}
    assert shown["connectors"]["shop"]["type"] == "webhook"
    assert shown["connectors"]["in"]["auth"] == {"type": "basic", "username": "u", "password": "env:TOKEN"}
    assert shown["connectors"]["in"]["extra"] == "2026-01-01"
    json.dumps(shown)


def test_a_literal_secret_in_a_plugins_table_is_warned_of_and_never_shown(loading: Loader) -> None:
    text = "url = 'https://joe:geheim@x/y?z=@'\napi_token = 'geheim'\nauth = { secrets = ['env:TOKEN', 'geheim'] }\nn = 1"
    config = loading(f"[plugins.warranty]\n{text}\n")
    assert config.effective["plugins"]["warranty"] == {
        "url": "https://[secret]@x/y?z=@",
        "api_token": "[secret]",
        "auth": {"secrets": ["env:TOKEN", "[secret]"]},
        "n": 1,
    }
    assert [warning.split(": ")[1] for warning in config.warnings if "literal secret; write" in warning] == [
        "plugins.warranty.api_token",
        "plugins.warranty.auth.secrets.1",
    ]
    assert "geheim" not in str(config.warnings)


def test_a_secret_in_a_file_that_everybody_may_read_is_warned_of(loading: Loader, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("geheim")
    (tmp_path / "token").chmod(0o644)
    text = SHOP.replace("env:TOKEN", "file:token")
    assert loading(text).warnings == (
        f"{tmp_path}/cdmd.toml: connectors.shop.secrets.0: everybody may read file:token (chmod o-r)",
    )
    (tmp_path / "token").chmod(0o640)
    assert loading(text).warnings == ()


def test_certificates_that_no_client_is_asked_for_are_a_mistake(tmp_path: Path) -> None:
    file, ca = tmp_path / "cdmd.toml", tmp_path / "ca.pem"
    ca.write_text("PEM", "utf-8")
    named = '[connectors.named]\ntype = "webhook"\nverify = "none"\nclient_names = ["CN=sender"]\n'

    def problems(http: str) -> list[str]:
        file.write_text(http + named, "utf-8")
        try:
            load(file, types={"webhook": Webhook.Settings}, environment={"HOME": "/"}, randomness=bytes)
        except ConfigInvalid as wrong:
            return [problem.partition(": ")[2] for problem in wrong.problems]
        return []

    asked = "no client is asked for a certificate: set http.tls.client_ca, or http.proxies.subject_header behind a proxy"
    tls = f'[http]\ntls = {{ certificate = "file:{ca}", key = "file:{ca}"'
    assert problems("") == problems(tls + " }\n") == [f"connectors.named.client_names: {asked}"]
    assert problems(tls + f', client_ca = "file:{ca}" }}\n') == []
    proxies = '[http.proxies]\ntrusted = ["10.0.0.0/8", "unix", "nonsense"]\nsubject_header = "x-s"\n'
    assert problems(proxies + 'verify_header = "x-v"\n') == [
        "http.proxies.trusted.2: 'nonsense' does not appear to be an IPv4 or IPv6 network"
    ]
    assert "`subject_header` and `verify_header` go together" in problems(proxies)[0]


def test_a_write_key_of_two_applications_is_a_mistake_told_with_both_places(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"
    environment = {"SHOP": "same key", "TV": "same key", "OTHER": "another key", "HOME": "/"}

    def problems(shop: str, tv: str) -> list[str]:
        text = "".join(
            f'[connectors.{name}]\ntype = "application"\nwrite_keys = {keys}\n' for name, keys in (("shop", shop), ("tv", tv))
        )
        file.write_text(text, "utf-8")
        try:
            load(file, types={"application": Application.Settings}, environment=environment, randomness=bytes)
        except ConfigInvalid as wrong:
            return [problem.removeprefix(f"{file}: ") for problem in wrong.problems]
        return []

    assert problems('["env:SHOP"]', '["env:OTHER", "env:TV"]') == [
        "connectors.tv.write_keys.1: is the same secret as connectors.shop.write_keys.0: all that comes with it would be shop's"
    ]
    assert problems('["env:SHOP", "env:TV"]', '["env:OTHER"]') == [
        "connectors.shop.write_keys.1: is the same secret as connectors.shop.write_keys.0: one of them is enough"
    ]
    assert problems('["env:SHOP"]', '["env:OTHER"]') == []


def test_a_signed_address_that_nobody_has_said_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"
    calls = '[connectors.calls]\ntype = "webhook"\nverify = "twilio"\nsecrets = ["env:TOKEN"]\n'

    def problems(text: str) -> list[str]:
        file.write_text(text, "utf-8")
        try:
            load(file, types={"webhook": Webhook.Settings}, environment={"TOKEN": "t", "HOME": "/"}, randomness=bytes)
        except ConfigInvalid as wrong:
            return list(wrong.problems)
        return []

    assert problems(calls) == [
        f"{file}: connectors.calls.verify: these senders sign the address that they call: set http.public_url, or `url` here to the whole of it"
    ]
    assert problems('[http]\npublic_url = "https://in.example.com"\n' + calls) == []
    assert problems(calls + 'url = "https://in.example.com/hooks/calls"\n') == []


def test_objectives_that_the_limits_of_a_host_do_not_allow_are_a_mistake_with_the_arithmetic(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"

    def declared(name: str, *, every: str, token: str = "t", limits: str = "10/1h") -> str:
        return (
            f'[connectors.{name}]\ntype = "rest"\nbase_url = "https://{name[:3]}.example"\nlimits = "{limits}"\n'
            f'auth = {{ type = "bearer", token = "{token}" }}\npage = {{ type = "none" }}\nfreshness = "{every}"\n'
            f'[connectors.{name}.streams.contacts]\npath = "/contacts"\nevent = {{ id = "{{id}}" }}\n'
        )

    def problems(*connectors: str) -> list[str]:
        file.write_text("".join(connectors), "utf-8")
        try:
            load(file, types={"rest": Rest.Settings}, environment={"HOME": "/"}, randomness=bytes)
        except ConfigInvalid as wrong:
            return [problem.removeprefix(f"{file}: ") for problem in wrong.problems]
        return []

    assert problems(declared("crm", every="5m")) == [
        (
            "connectors.crm.limits: contacts once in 5m = 12 requests an hour at the least, the limit of 10/1h allows 10: "
            "allow more, or want everything 1.2 times less often"
        )
    ]
    assert problems(declared("crm", every="6m")) == []
    assert problems(declared("crm", every="10m"), declared("crm_two", every="10m", limits="100/1h")) == [
        (
            "connectors.crm.limits: crm.contacts once in 10m + crm_two.contacts once in 10m = 12 requests an hour at the least, "
            "the limit of 10/1h allows 10: allow more, or want everything 1.2 times less often"
        )
    ]
    assert problems(declared("crm", every="10m"), declared("crm_two", every="10m", token="u")) == []
    assert problems(declared("crm", every="10m"), declared("shop", every="10m")) == []


@pytest.mark.parametrize(
    ("identifiers", "kinds", "warned"),
    [
        ('{ email_sha256 = "{hash}" }', "", True),
        ('{ email_sha256 = "{hash}" }', "[identity.identifiers]\nemail_sha256 = {}\n", False),
        ('{ email_sha256 = "{hash}", email = "{email}" }', "", False),
        ("{}", "", False),
    ],
)
def test_a_guard_that_can_know_nobody_is_warned_of(loading: Loader, identifiers: str, kinds: str, *, warned: bool) -> None:
    text = '[connectors.sup]\ntype = "webhook"\nverify = "none"\nknown_only = true\n'
    found = loading(kinds + text + f"event = {{ identifiers = {identifiers} }}\n").warnings
    assert [one for one in found if "known_only" in one] == (
        [f"{found[0].partition(':')[0]}: connectors.sup.known_only: {NOBODY}"] if warned else []
    )
    plain = text.replace("known_only = true", "")
    assert not any("known_only" in one for one in loading(plain + f"event = {{ identifiers = {identifiers} }}\n").warnings)


NOBODY = "nobody can be known: [identity.identifiers] lists none of the kinds that it brings (email_sha256)"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('url = "postgresql://cdmd@db.example/cdmd?sslmode=require"\npassword = "env:TOKEN"', None),
        ('url = "postgresql:///cdmd?host=/run/postgresql"', None),
        ('url = "postgres://db/cdmd"', None),
        ('url = "mysql://db/cdmd"', "store: `url` is not the address of a PostgreSQL database: postgresql://USER@HOST/NAME"),
        ('url = "postgresql://db"', "store: `url` is not the address of a PostgreSQL database: postgresql://USER@HOST/NAME"),
        (
            'url = "postgresql://[db/cdmd"',
            "store: `url` is not the address of a PostgreSQL database: postgresql://USER@HOST/NAME",
        ),
        (
            'url = "postgresql://u:geheim@db/cdmd"',
            "store: everybody sees `url`: write the password beside it as `password`, a reference",
        ),
        (
            'url = "postgresql://db/cdmd?password=geheim"',
            "store: everybody sees `url`: write the password beside it as `password`, a reference",
        ),
        ('password = "env:TOKEN"', "store: `password` goes with `url`: without it the store lies in the state directory"),
        ('process = "own"', None),
        (
            'url = "postgresql://db/cdmd"\nprocess = "own"',
            'store: `process = "own"` goes with a store in the state directory: take it away, or `url`',
        ),
        ('process = "owm"', 'store.process: "owm" is none of "shared", "own" (did you mean own?)'),
    ],
)
def test_a_store_on_a_server_has_an_address_that_everybody_may_see(
    loading: Loader, mistakes: Mistakes, table: str, said: str | None
) -> None:
    text = f"[store]\n{table}\n{SHOP}"
    if said is None:
        assert "geheim" not in json.dumps(loading(text).effective)
    else:
        assert mistakes(text) == [f"cdmd.toml: {said}"]


def test_a_store_on_a_server_needs_the_extra(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = mistakes(f'[store]\nurl = "postgresql://db/cdmd"\n{SHOP}')
    assert found == ["cdmd.toml: store: `url` needs psycopg: pip install 'cdmd[cluster]'"]


def test_a_folder_of_connectors_that_may_not_be_looked_into_is_a_mistake(
    mistakes: Mistakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf.d").mkdir()

    def refuse(_path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert mistakes(SHOP) == ["conf.d: cannot be read: Permission denied"]


def test_the_effective_configuration_has_every_section(loading: Loader) -> None:
    assert set(loading(SHOP).effective) >= set(SECTIONS)
