import errno
import functools
import io
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, BinaryIO, ClassVar

import anyio
import msgspec
import pytest

from cdmd.contracts import Extension, Source
from cdmd.errors import ConfigInvalid, FormatFault, PluginBroken, SourceUnavailable
from cdmd.hookspecs import hookimpl
from cdmd.kit.detached import within
from cdmd.models import Answer, Fault, Request, Route, Row
from cdmd.plugins import PluginRow, Plugins
from cdmd.plugins.described import Declared, Described, Isolation

pytestmark = pytest.mark.anyio


class Settings(msgspec.Struct):
    url: str = ""


class Pull:
    type: ClassVar[str] = "pull"
    Settings = Settings

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name

    async def run(self, source: Source) -> None:
        await anyio.sleep_forever()


class Push:
    type: ClassVar[str] = "push"
    Settings = Settings

    def __init__(self, name: str, settings: Any) -> None:
        self.routes = [Route(path="/x")]

    routes: Any = ()

    async def answer(self, request: Request, source: Source) -> Answer:
        return Answer()


class Lines:
    name: ClassVar[str] = "lines"
    Settings = Settings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        for number, line in enumerate(stream, 1):
            yield Row(number, number, {"line": line.decode()})


@dataclass
class Point:
    """An entry point: ``found`` is the plugin, or the exception its import raises."""

    name: str
    found: Any
    dist: Any = field(default_factory=lambda: types.SimpleNamespace(version="1.2"))

    def load(self) -> Any:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


def plugin(**hooks: Any) -> types.SimpleNamespace:
    """A plugin whose hooks are functions, or give the value handed in."""

    def giving(value: Any) -> Any:
        return lambda: value

    functions = {name: hook if callable(hook) else giving(hook) for name, hook in hooks.items()}
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in functions.items()})


def written_for(version: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(CDMD_HOOKS=version)


def extension(name: str) -> Extension:
    return Extension(name=name, on=["*"], function=lambda event, context: None)


def of_timeout(seconds: Any) -> Extension:
    return Extension(name="it", on=["*"], function=print, timeout=seconds)


class Unheld(Lines):
    """A class that cannot be derived from as it is."""

    def __init_subclass__(cls) -> None:
        raise TypeError("secret")


def row(found: Any, settings: Mapping[str, Mapping[str, Any]] | None = None) -> PluginRow:
    (only,) = Plugins.load([Point("it", found)], settings or {}).rows()
    return only


def changed(cls: type, **attributes: Any) -> type:
    return type(cls.__name__, (cls,), attributes)


def test_a_plugins_connectors_and_extensions_are_taken_in() -> None:
    one = extension("warranty")
    plugins = Plugins.load([Point("it", plugin(cdmd_connectors=[Pull, Push], cdmd_extensions=[one]))], {"it": {"url": "x"}})
    assert plugins.rows() == [PluginRow(name="it", version="1.2", state="enabled", brings=plugins.rows()[0].brings)]
    assert plugins.connector_types() == {"pull": Pull, "push": Push}
    assert plugins.extensions() == [("it", one)]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (ImportError("secret"), "it raised ImportError"),
        (ModuleNotFoundError("no", name="numpy"), "it needs the module numpy, which is not installed"),
        (SystemExit(1), "it raised SystemExit"),
        (SyntaxError("secret"), "it raised SyntaxError"),
        (plugin(cdmd_extensions=lambda nonsense: []), "nonsense"),
        (plugin(cdmd_extentions=()), "unknown hook 'cdmd_extentions'"),
        (types.SimpleNamespace(cdmd_extensions=lambda: ()), "cdmd_extensions lacks @cdmd.hookimpl"),
        (plugin(cdmd_extensions=None), "cdmd_extensions must return a list"),
        (plugin(cdmd_extensions=["warranty"]), "what @cdmd.extension makes"),
        (plugin(cdmd_extensions=[Extension(name="it", on=["*"], function=None)]), "what @cdmd.extension makes"),
        (plugin(cdmd_extensions=lambda: [Extension(name=5, on=["*"], function=print)]), "a name, which is text"),  # type: ignore[arg-type]
        (plugin(cdmd_extensions=lambda: [Extension(name="it", on="*", function=print)]), 'needs on="EVENT TYPE"'),
        (plugin(cdmd_extensions=lambda: [Extension(name="it", on=5, function=print)]), 'needs on="EVENT TYPE"'),  # type: ignore[arg-type]
        (plugin(cdmd_extensions=lambda: [of_timeout("soon")]), "timeout='soon' is not a number of seconds above 0"),
        (plugin(cdmd_extensions=lambda: [of_timeout(float("nan"))]), "timeout=nan is not a number of seconds above 0"),
        (plugin(cdmd_extensions=lambda: [of_timeout(10**400)]), "is not a number of seconds above 0"),
        (plugin(cdmd_connectors=["rest"]), "must list classes"),
        (plugin(cdmd_connectors=[changed(Pull, type="")]), "has no `type`"),
        (plugin(cdmd_connectors=[changed(Pull, Settings=dict)]), "has no `Settings` struct"),
        (plugin(cdmd_connectors=[changed(Pull, __init__=lambda self: None)]), "not made from (name, settings)"),
        (plugin(cdmd_connectors=[changed(Pull, run=lambda self, source: None)]), "async `run`"),
        (plugin(cdmd_connectors=[Pull, changed(Pull)]), "'pull' exists already"),
        (plugin(cdmd_extensions=[extension("a"), extension("a")]), "'a' exists already"),
        (plugin(cdmd_formats=["csv"]), "must list classes"),
        (plugin(cdmd_formats=[changed(Lines, name="")]), "has no `name`"),
        (plugin(cdmd_formats=[changed(Lines, Settings=dict)]), "has no `Settings` struct"),
        (plugin(cdmd_formats=[changed(Lines, __init__=lambda self: None)]), "not made from (settings)"),
        (plugin(cdmd_formats=[changed(Lines, rows=None)]), "has no rows(stream)"),
        (plugin(cdmd_formats=[Unheld]), "it raised TypeError"),
        (plugin(cdmd_formats=[Lines, changed(Lines)]), "the format 'lines' exists already"),
        (plugin(cdmd_settings=[Settings]), "cdmd_settings must return a msgspec.Struct class"),
        (written_for((0, 9)), "written for hooks 0.9, and this cdmd has 1.1: install a newer version of it"),
        (written_for((1, 2)), "written for hooks 1.2, and this cdmd has 1.1: update cdmd"),
        (written_for((2, 0)), "update cdmd"),
        (written_for("1.0"), "write CDMD_HOOKS = (1, 0)"),
        (written_for((1, "0")), "write CDMD_HOOKS = (1, 0)"),
    ],
)
def test_a_broken_plugin_is_a_row_with_its_reason(found: Any, sentence: str) -> None:
    broken = row(found)
    assert broken.state == "load error"
    assert broken.error is not None
    assert sentence in broken.error
    assert "secret" not in broken.error


class Sends:
    type: ClassVar[str] = "sends"
    Settings = Settings
    batch: Any = 5

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name

    async def deliver(self, deliveries: Any, outlet: Any) -> Any:
        return []


@pytest.mark.parametrize("batch", [0, -1, "5", None, 2.5])
def test_a_target_that_takes_no_number_of_deliveries_is_not_made(batch: Any) -> None:
    kinds = [Sends, changed(Sends, type="bad", batch=batch), changed(Sends, type="runs", batch=None, run=Pull.run)]
    plugins = Plugins.load([Point("it", plugin(cdmd_targets=kinds))], {})
    for kind in ("sends", "runs"):
        assert plugins.target(kind, "crm", Settings()) is not None
    with pytest.raises(PluginBroken, match=r"targets\.crm: its type bad cannot make it: its `batch` is no whole number"):
        plugins.target("bad", "crm", Settings())


def test_what_pythons_own_library_is_of_belongs_to_no_plugin() -> None:
    """A partial of the plugin's function is an object of functools."""
    one = Extension(name="it", on=["*"], function=functools.partial(print))
    plugins = Plugins.load([Point("it", plugin(cdmd_extensions=[one]))], {})
    assert (plugins.owner("functools"), plugins.owner("tests.test_plugins")) == (None, None)


def test_a_connector_may_be_told_and_fetch() -> None:
    assert row(plugin(cdmd_connectors=[changed(Push, run=Pull.run)])).state == "enabled"


def test_a_plugin_that_was_written_for_this_version_or_an_earlier_one_is_taken_in() -> None:
    assert row(written_for((1, 0))).state == "enabled"


def test_a_plugin_may_declare_its_own_settings_and_be_told_that_they_are_wrong() -> None:
    plugins = Plugins.load([Point("it", plugin(cdmd_settings=lambda: Settings, cdmd_formats=[Lines]))], {})
    assert plugins.settings_types() == {"it": Settings}
    plugins.refuse("it", ["plugins.it.url: missing key"])
    assert (plugins.rows()[0].state, plugins.rows()[0].error) == ("bad config", "plugins.it.url: missing key")
    assert issubclass(plugins.formats()["lines"], Lines)


ONE = Described(extensions=(Declared(name="ask", on=("tv.*",), timeout=2.0, on_failure="hold"),), example="[plugins.it]\n")


@dataclass
class Asked:
    """What stands for asking a plugin in a process of its own."""

    said: Described = ONE
    tables: list[Any] = field(default_factory=list)

    def __call__(self, isolation: Isolation, table: Mapping[str, Any]) -> Described:
        self.tables.append((isolation, dict(table)))
        return self.said


def isolated(wanted: Any, asked: Asked, **settings: Any) -> Plugins:
    point = EntryPoint("it", "nowhere_to_be_imported", "cdmd")
    return Plugins.load([point], {"it": {"isolate": wanted, **settings}}, describe=asked)


@pytest.mark.parametrize(("wanted", "most"), [(True, None), ({"max_memory": "64MiB"}, 64 * 2**20)])
def test_an_isolated_plugin_is_asked_and_not_imported(wanted: Any, most: int | None) -> None:
    asked = Asked()
    plugins = isolated(wanted, asked, url="x")
    (found,) = plugins.rows()
    assert (found.state, found.brings) == ("enabled", ["extension it.ask"])
    assert plugins.isolated() == {"it": Isolation(name="it", value="nowhere_to_be_imported", max_memory=most)}
    assert [(name, one.name, one.timeout) for name, one in plugins.extensions()] == [("it", "ask", 2.0)]
    assert plugins.brought("it").example == "[plugins.it]\n"
    assert asked.tables == [(plugins.isolated()["it"], {"isolate": wanted, "url": "x"})]


def test_what_an_isolated_plugin_says_of_its_table_is_asked_again_for_another() -> None:
    asked = Asked(msgspec.structs.replace(ONE, problems=((("plugins", "it", "url"), "missing"),), defaults={"most": 5}))
    settle = isolated(True, asked).settings_types()["it"]
    assert settle({"isolate": True}) == ([(("plugins", "it", "url"), "missing")], {"most": 5})
    assert settle({"isolate": True, "url": "x"}).defaults == {"most": 5}
    assert [table for _, table in asked.tables] == [{"isolate": True}, {"isolate": True, "url": "x"}]


@pytest.mark.parametrize("key", [(), ("plugins",), ("plugins", "other", "url"), ("http", "nobody")])
def test_what_an_isolated_plugin_says_is_wrong_is_said_of_itself_whatever_it_names(key: tuple[str, ...]) -> None:
    settle = isolated(True, Asked(msgspec.structs.replace(ONE, problems=((key, "wrong"),)))).settings_types()["it"]
    ((where, _),) = settle({"isolate": True}).problems
    assert where[:2] == ("plugins", "it")


@pytest.mark.parametrize(
    ("wanted", "said", "error"),
    [
        ("yes", ONE, 'plugins.it.isolate is neither true nor false, nor { max_memory = "256MiB" }'),
        ({"memory": "1MiB"}, ONE, "plugins.it.isolate is neither true nor false"),
        ({"max_memory": 5}, ONE, "plugins.it.isolate is neither true nor false"),
        ({"max_memory": "much"}, ONE, "plugins.it.isolate.max_memory: 'much' is not a size"),
        (True, Described(error="it raised ValueError"), "it raised ValueError"),
        (True, Described(others=("connector pull",)), "only extensions can be isolated, and it also brings connector pull"),
    ],
)
def test_a_plugin_that_cannot_be_isolated_is_not_used_at_all(wanted: Any, said: Described, error: str) -> None:
    plugins = isolated(wanted, Asked(said))
    (found,) = plugins.rows()
    assert found.state == "load error"
    assert error in (found.error or "")
    assert (plugins.isolated(), plugins.settings_types(), plugins.extensions()) == ({}, {}, [])


def test_without_a_daemon_nothing_is_isolated_and_neither_is_what_is_ours() -> None:
    point = EntryPoint("it", "nowhere_to_be_imported", "cdmd")
    (found,) = Plugins.load([point], {"it": {"isolate": True}}).rows()
    assert (found.state, found.error) == ("load error", "it is to be isolated, which only the daemon does")
    (found,) = Plugins.load([Point("it", plugin())], {"it": {"isolate": True}}, describe=Asked()).rows()
    assert "what is part of cdmd itself cannot be isolated" in (found.error or "")


def test_how_an_isolated_plugin_was_when_it_started_is_its_row() -> None:
    plugins = isolated(True, Asked())
    plugins.started("it", "failed", "startup: it raised KeyError")
    assert (plugins.rows()[0].state, plugins.rows()[0].error) == ("failed", "startup: it raised KeyError")
    plugins.started("it", "enabled", None)
    assert (plugins.rows()[0].state, plugins.rows()[0].error) == ("enabled", None)
    plugins.refuse("it", ["plugins.it.url: missing"])
    plugins.started("it", "enabled", None)
    assert plugins.rows()[0].state == "bad config"
    plugins.started("it", "failed", "startup: it raised KeyError")
    plugins.started("it", "failed", "startup: it raised KeyError")
    found = plugins.rows()[0]
    assert (found.state, found.error) == ("bad config", "plugins.it.url: missing; startup: it raised KeyError")
    plugins.started("it", "enabled", None)
    assert (plugins.rows()[0].state, plugins.rows()[0].error) == ("bad config", "plugins.it.url: missing")


def test_a_plugins_formats_are_taken_in() -> None:
    plugins = Plugins.load([Point("it", plugin(cdmd_formats=[Lines]))], {})
    assert issubclass(plugins.formats()["lines"], Lines)
    assert plugins.rows()[0].brings == ["format lines"]


@pytest.mark.parametrize(
    ("yielded", "told"),
    [
        ([Row(1, 1, {"a": 1}), KeyError("joe@example.com")], "it raised KeyError"),
        ([SystemExit(1)], "it raised SystemExit"),
        ([Row(1, 1, None)], "no row with a value or a fault"),
        ([{"a": 1}], "no row with a value or a fault"),
        ([Row("1", 1, {})], "no row with a value or a fault"),
        ([Row(1, 1, {}, Fault("x", "y"))], "no row with a value or a fault"),
        ([FormatFault("cut", "the file is cut")], "the file is cut"),
    ],
)
def test_what_a_plugins_format_does_wrong_is_a_fault_of_the_file(yielded: list[Any], told: str) -> None:
    def rows(self: Any, stream: Any) -> Any:
        for one in yielded:
            if isinstance(one, BaseException):
                raise one
            yield one

    form = Plugins.load([Point("it", plugin(cdmd_formats=[changed(Lines, rows=rows)]))], {}).formats()["lines"]
    with pytest.raises(FormatFault, match=told) as caught:
        list(form(None).rows(io.BytesIO()))
    assert "joe" not in str(caught.value)


@pytest.mark.parametrize("trouble", [OSError(errno.EIO, "bad disk"), MemoryError(), SourceUnavailable("no table")])
@pytest.mark.parametrize("method", ["rows", "examined"])
def test_what_is_no_fault_of_the_file_is_passed_on_by_a_plugins_format(trouble: Exception, method: str) -> None:
    def read(self: Any, stream: Any) -> Any:
        yield Row(1, None, {})
        raise trouble

    form: Any = Plugins.load([Point("it", plugin(cdmd_formats=[changed(Lines, **{method: read})]))], {}).formats()["lines"]
    with pytest.raises(type(trouble)) as caught:
        list(getattr(form(None), method)(io.BytesIO()))
    assert caught.value is trouble


def test_an_error_without_a_number_is_a_librarys_and_so_a_fault_of_the_file() -> None:
    def rows(self: Any, stream: Any) -> Any:
        raise OSError("not a gzipped file")

    form = Plugins.load([Point("it", plugin(cdmd_formats=[changed(Lines, rows=rows)]))], {}).formats()["lines"]
    with pytest.raises(FormatFault, match="it raised OSError"):
        list(form(None).rows(io.BytesIO()))


def test_a_plugins_format_that_examines_need_not_say_what_a_sound_record_holds() -> None:
    given: list[Any] = [Row(1, 1, None), Row(2, 2, {"a": object()}), Row(3, 3, None, Fault("x", "y"))]
    examining = changed(Lines, examined=lambda self, stream: given)
    form: Any = Plugins.load([Point("it", plugin(cdmd_formats=[examining]))], {}).formats()["lines"]
    assert list(form(None).examined(io.BytesIO())) == given
    given.append(Row("4", 4, None))  # type: ignore[arg-type]
    with pytest.raises(FormatFault, match="no row"):
        list(form(None).examined(io.BytesIO()))


def test_a_record_of_a_plugins_format_that_cannot_be_kept_is_set_aside_alone() -> None:
    values: list[Any] = [{"a": 2**70}, {"a": object()}, {"a": "\ud800"}, [1], {"a": 1}]
    given = [*(Row(number, None, value) for number, value in enumerate(values, 1)), Row(6, None, None, Fault("x", "y"))]
    form = Plugins.load([Point("it", plugin(cdmd_formats=[changed(Lines, rows=lambda self, stream: given)]))], {}).formats()
    found = list(form["lines"](None).rows(io.BytesIO()))
    assert [row.fault and row.fault.code for row in found] == ["not_storable"] * 3 + ["not_an_object", None, "x"]


def test_a_hook_that_should_be_plain_is_refused_when_async() -> None:
    async def cdmd_extensions() -> list[Extension]:
        return []

    assert "must be a plain function" in str(row(plugin(cdmd_extensions=cdmd_extensions)).error)


def test_a_hook_that_raises_at_loading_harms_only_its_plugin() -> None:
    def bad() -> list[Extension]:
        raise RuntimeError("secret")

    points = [Point("bad", plugin(cdmd_extensions=bad)), Point("good", plugin(cdmd_connectors=[Pull]))]
    plugins = Plugins.load(points, {})
    assert [(r.name, r.state) for r in plugins.rows()] == [("bad", "load error"), ("good", "enabled")]
    assert plugins.connector_types() == {"pull": Pull}


def test_the_built_in_connectors_come_first_and_win_over_a_second_of_their_type() -> None:
    points = [Point("a", plugin(cdmd_connectors=[changed(Pull)])), Point("builtin", plugin(cdmd_connectors=[Pull]))]
    plugins = Plugins.load(points, {})
    assert plugins.connector_types() == {"pull": Pull}
    assert [(r.name, r.state) for r in plugins.rows()] == [("a", "load error"), ("builtin", "enabled")]


def test_modules_handed_in_replace_entry_points_of_the_same_name() -> None:
    plugins = Plugins.load([Point("builtin", ImportError())], {}, modules={"builtin": plugin(cdmd_connectors=[Push])})
    assert plugins.rows() == [PluginRow(name="builtin", version=None, state="enabled", brings=["connector push"])]


def test_two_plugins_of_one_name_are_reported() -> None:
    plugins = Plugins.load([Point("it", plugin()), Point("it", plugin())], {})
    assert [r.error for r in plugins.rows()] == ["two installed plugins have this name"]


def test_a_plugin_may_be_disabled_and_is_then_not_imported() -> None:
    assert row(AssertionError("imported"), {"it": {"enabled": False}}).state == "disabled"


def test_an_enabled_that_is_no_boolean_is_bad_configuration() -> None:
    assert row(plugin(), {"it": {"enabled": "no"}}).state == "bad config"


def test_settings_for_a_plugin_that_is_not_installed_are_reported() -> None:
    assert Plugins.load([], {"it": {}}).rows() == [
        PluginRow(name="it", version=None, state="bad config", error="it is configured but not installed")
    ]


def test_what_is_not_installed_is_told_what_is_that_it_may_mean() -> None:
    rows = Plugins.load([Point("warranty", plugin())], {"waranty": {}, "warant": {}}).rows()
    said = "it is configured but not installed (did you mean warranty?)"
    assert {row.name: row.error for row in rows} == {"warranty": None, "waranty": said, "warant": said}


def test_a_plugin_that_is_not_installed_and_disabled_is_as_it_should_be() -> None:
    assert Plugins.load([], {"it": {"enabled": False}}).rows() == [PluginRow(name="it", version=None, state="disabled")]


@pytest.mark.parametrize("hook", ["startup", "shutdown"])
async def test_one_startup_or_shutdown_that_raises_hangs_or_exits_never_keeps_the_others_from_theirs(
    hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    over = anyio.Event()

    async def patient(call: Any, *, seconds: float, name: str) -> Any:
        """A busy machine may take its time with the others."""
        return await within(call, seconds=seconds if name.endswith(" of b") else 30, name=name)

    async def exits() -> None:
        raise SystemExit(1)

    async def hangs() -> None:
        while not over.is_set():
            with suppress(anyio.get_cancelled_exc_class()):
                await over.wait()

    def raises() -> None:
        raise ValueError("secret")

    async def well() -> None:
        called.append("async")

    def lazy() -> Any:
        return well()

    monkeypatch.setattr("cdmd.plugins.registry.within", patient)
    hooks = {"a": exits, "b": hangs, "c": raises, "d": well, "e": lambda: called.append("plain"), "f": lazy}
    plugins = Plugins.load([Point(name, plugin(**{f"cdmd_{hook}": call})) for name, call in hooks.items()], {})
    try:
        with anyio.fail_after(30):
            if hook == "startup":
                await plugins.startup({}, seconds=0.2)
            else:
                await plugins.shutdown(seconds=0.2)
    finally:
        over.set()
    assert sorted(called) == ["async", "async", "plain"]
    states = {r.name: (r.state, r.error) for r in plugins.rows()}
    assert [name for name, (state, _) in states.items() if state == "failed"] == ["a", "b", "c"]
    assert states["b"][1] == f"{hook}: took longer than 0.2 s"
    assert "ValueError" in str(states["c"][1])
    assert "secret" not in str(states["c"][1])


async def test_a_startup_that_asks_for_its_context_gets_its_own_plugins() -> None:
    given: list[Any] = []

    def takes(context: Any) -> None:
        given.append(context)

    points = [
        Point("a", plugin(cdmd_startup=takes)),
        Point("b", plugin(cdmd_startup=lambda: given.append("none"))),
    ]
    context: Any = types.SimpleNamespace(settings={"url": "x"})
    await Plugins.load(points, {}).startup({"a": context})
    assert sorted(given, key=str) == sorted([context, "none"], key=str)


async def test_a_startup_that_refuses_its_settings_is_bad_configuration_in_its_own_words() -> None:
    async def refuses(context: Any) -> None:
        raise ConfigInvalid(["url: is missing", "tokn: unknown key"])

    plugins = Plugins.load([Point("it", plugin(cdmd_startup=refuses, cdmd_extensions=[extension("one")]))], {})
    await plugins.startup({"it": types.SimpleNamespace()})  # type: ignore[dict-item]
    (only,) = plugins.rows()
    assert (only.state, only.error) == ("bad config", "plugins.it.url: is missing; plugins.it.tokn: unknown key")
    assert [name for name, _ in plugins.extensions()] == ["it"]


async def test_one_mistake_may_be_told_without_a_list_around_it() -> None:
    def refuses() -> None:
        raise ConfigInvalid("url: is missing")

    plugins = Plugins.load([Point("it", plugin(cdmd_startup=refuses))], {})
    await plugins.startup({})
    assert plugins.rows()[0].error == "plugins.it.url: is missing"


async def test_wrong_settings_stay_wrong_when_the_startup_fails_for_want_of_them() -> None:
    def starts(context: Any) -> None:
        context.settings["url"]

    plugins = Plugins.load([Point("it", plugin(cdmd_startup=starts, cdmd_extensions=[extension("one")]))], {})
    plugins.refuse("it", ["plugins.it.url: missing key"])
    await plugins.startup({"it": types.SimpleNamespace(settings={})})  # type: ignore[dict-item]
    (only,) = plugins.rows()
    assert only.state == "bad config"
    assert (only.error or "").startswith("plugins.it.url: missing key; startup: ")


def test_hooks_of_later_versions_do_no_harm_and_are_named_in_its_row() -> None:
    only = row(plugin(cdmd_extensions=[extension("a")], cdmd_verifiers=[], cdmd_formats=[Lines]))
    assert (only.state, only.error) == ("enabled", None)
    assert only.brings == ["format lines", "extension it.a", "cdmd_verifiers (not used by this version)"]


def test_the_commands_of_every_plugin_are_found_and_one_that_fails_brings_none() -> None:
    odd, ok = plugin(cdmd_commands=lambda: 5), plugin(cdmd_commands=[1])
    points = [Point("bad", ImportError("no")), Point("odd", odd), Point("ok", ok)]
    assert Plugins.commands(points) == [1]
