"""The tables ``[plugins.NAME]``: plain data with references resolved, checked by what the plugin declares.

A mistake in one is its plugin's, whose row names it, and a warning: it stops nobody else. Not here: loading plugins.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdmd.config.checking import Checker
from cdmd.config.effective import defaults
from cdmd.config.reading import Key, show
from cdmd.config.secrets import PREFIXES, names_a_secret
from cdmd.kit.frames import sentence
from cdmd.kit.secret import Secret

KEYS: Final = frozenset(("enabled", "isolate"))
"""The keys that every table has."""


class Settled(NamedTuple):
    """What became of a table: the mistakes in it, each by its key, and what it has where it is silent."""

    problems: Iterable[tuple[Key, str]]
    defaults: Mapping[str, Any]


Declared: TypeAlias = type[msgspec.Struct] | Callable[[Mapping[str, Any]], Settled]
"""How a plugin declares its table: by a struct, or by whoever asks the plugin where it is not imported here."""


def settle(
    struct: type[msgspec.Struct], name: str, table: Mapping[str, Any], *, secret: Callable[[str, Key], Secret]
) -> Settled:
    """What ``struct`` says of the table of the plugin ``name``."""
    found: list[tuple[Key, str]] = []
    own, key = own_keys(table), ("plugins", name)
    try:
        Checker(lambda key, what: found.append((key, what)), secret).table(struct, own, key, known=KEYS)
        return Settled(found, defaults(struct))
    except Exception as error:  # noqa: BLE001 - a plugin's struct is foreign code, and what it says of its types need not be so
        return Settled([*found, (key, f"what the plugin declares cannot be checked: {sentence(error)}")], {})


def own_keys(table: Mapping[str, Any] | None) -> dict[str, Any]:
    """A plugin's table without what is ours in it: what the plugin is handed."""
    return {entry: value for entry, value in (table or {}).items() if entry not in KEYS}


class PluginTables:
    """Takes one table after the other; ``problems`` are the mistakes in those that are declared, by plugin, each with its key.

    ``structs`` are what plugins declare. ``resolve`` gives a reference's secret, ``secret`` the same with its warnings; what is
    wrong with a reference goes to ``report``, a literal secret to ``literal``.
    """

    def __init__(
        self,
        structs: Mapping[str, Declared],
        *,
        resolve: Callable[[str], Secret],
        secret: Callable[[str, Key], Secret],
        report: Callable[[Key, str], None],
        literal: Callable[[Key], None],
    ) -> None:
        self._structs, self._resolve, self._secret = structs, resolve, secret
        self._report, self._literal = report, literal
        self._found: list[tuple[Key, str]] = []

    @property
    def problems(self) -> Mapping[str, Sequence[str]]:
        """The mistakes by plugin."""
        by_name: dict[str, list[str]] = {}
        for key, what in self._found:
            by_name.setdefault(key[1], []).append(f"{show(key)}: {what}")
        return by_name

    @property
    def declared(self) -> Iterable[str]:
        """The plugins that declare their tables."""
        return self._structs

    def found(self) -> Iterator[tuple[Key, str]]:
        """The mistakes, each by its key."""
        return iter(self._found)

    def table(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """The plugin's settings; defaults are in them where it declares some."""
        taken = {entry: self._plain(one, ("plugins", name, entry)) for entry, one in table.items()}
        declared = self._structs.get(name)
        if declared is None:
            return taken
        settled = settle(declared, name, table, secret=self._secret) if isinstance(declared, type) else declared(table)
        self._found += settled.problems
        return {**settled.defaults, **taken}

    def _plain(self, value: Any, key: Key) -> Any:
        """Plain data; text that starts like a reference is the secret's text."""
        match value:
            case dict():
                return {name: self._plain(one, (*key, name)) for name, one in value.items()}
            case list():
                return [self._plain(one, (*key, str(place))) for place, one in enumerate(value)]
            case str() if value.startswith(PREFIXES):
                try:
                    return self._resolve(value).reveal().decode()
                except UnicodeDecodeError:
                    self._report(key, f"the secret {value} is not UTF-8 text")
                except ValueError as error:
                    self._report(key, str(error))
                return None
            case str() if value and any(names_a_secret(part) for part in key[2:]):
                self._literal(key)
                return value
            case _:
                return value
