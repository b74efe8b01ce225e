"""The Connector Library: predefined connectors and targets as data, and how one is laid under a user's own table.

An entry is ``NAME.toml``, what ``use = "NAME"`` stands for, with its page ``NAME.md`` beside it. Ours lie in ``etc/library`` of
a checkout and in the installed package; a plugin's in a folder ``library`` of its package, named ``PLUGIN/NAME``. Reads files;
blocks. Not for: what the keys mean (``loading`` checks the merged table as if the user had written all of it).
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec

from cdmd.config.reading import Key, Merged, show

_OURS: Final = ""
_FOLDER: Final = "library"
_ROOMS: Final = {"connectors": "connector", "targets": "target"}
_TABLE: Final = re.compile(r"^\[(?:connector|target)\](?=\s*(#.*)?$)", re.MULTILINE)
_HEADS: Final = re.compile(r"^\[(connector|target)(?=[].])", re.MULTILINE)
_CONTENT: Final = frozenset({"event", "record"})
"""Tables whose keys are the user's own words: what is kept of a record, and what is sent of a delivery."""

_SHAPING: Final = ("type", "algorithm")
_MOST_NAMED: Final = 3


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A predefined connector or target.

    ``kind``: ``fat`` webhooks carry their event, ``thin`` ones only notify and are fetched, ``pull`` asks by itself; a
    ``target`` is sent to. ``verified`` says in one line how its facts were checked. ``snippet`` is a configuration to paste;
    ``kinds`` are identifiers that it brings beyond the default ones, as suggestions for ``[identity.identifiers]``.
    ``connector`` or ``target`` is what the user's table is laid over.
    """

    title: str
    kind: Literal["fat", "thin", "pull", "target"]
    summary: str
    verified: str
    snippet: str
    kinds: dict[str, dict[str, Any]] = {}
    connector: dict[str, Any] = {}
    target: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """One of the two there is."""
        if bool(self.connector) is bool(self.target) or bool(self.target) is not (self.kind == "target"):
            raise ValueError("it has one table [target] where its kind is target, else one [connector]")

    @property
    def room(self) -> str:
        """The table of the configuration that it belongs in."""
        return "targets" if self.target else "connectors"


class Unusable(ValueError):
    """An entry's file cannot be used; the message begins with its name."""


class Announced(Protocol):
    """What is used of ``importlib.metadata.EntryPoint``."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    @property
    def module(self) -> str:
        """The module that it is."""
        ...


class Library:
    """The entries of the folders (by the plugin that brings them; ours by the empty name). Files are read when asked for."""

    def __init__(self, folders: Mapping[str, Path] | None = None) -> None:
        self._files = {
            f"{plugin}/{file.stem}" if plugin else file.stem: file
            for plugin, folder in sorted({_OURS: _built_in(), **(folders or {})}.items())
            for file in sorted(folder.glob("*.toml"))
        }

    @classmethod
    def installed(cls, plugins: Iterable[Announced]) -> "Library":
        """Ours and those of installed plugins, of which none is imported."""
        return cls({one.name: folder for one in plugins if (folder := _brought(one.module)) is not None})

    def names(self) -> list[str]:
        """Every entry's name, ours first."""
        return list(self._files)

    def nearest(self, name: str) -> list[str]:
        """The few names that are most like ``name``, the likest first."""
        known = {one.rpartition("/")[2]: one for one in reversed(self._files)} | {one: one for one in self._files}
        found = get_close_matches(name, known, n=2 * _MOST_NAMED)
        return list(dict.fromkeys(known[one] for one in found))[:_MOST_NAMED]

    def file(self, name: str) -> Path | None:
        """The file of an entry; None where there is none of this name."""
        return self._files.get(name)

    def entry(self, name: str) -> Entry:
        """The entry of that name. Raises Unusable."""
        file = self._files[name]
        try:
            return msgspec.convert(tomllib.loads(_text(file)), Entry)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise Unusable(f"{file}: cannot be used: {error}") from error

    def page(self, name: str) -> str:
        """The entry's own page in Markdown; nothing where its file is missing. Raises Unusable."""
        file = self._files[name].with_suffix(".md")
        return _text(file).strip() if file.exists() else ""

    def written_out(self, name: str, *, called: str) -> str:
        """What ``use`` stands for, as the table of one that is called so, with the entry's own remarks. Raises Unusable."""
        text = _text(self._files[name])
        begins = _TABLE.search(text)
        return _HEADS.sub(rf"[\1s.{called}", text[begins.start() :]).strip() if begins else ""


def lay_under(merged: Merged, library: Library, *, absent: str | None = None) -> None:
    """Lay the entry that each connector's or target's ``use`` names under its table; the user's keys win, tables merge.

    A list replaces a list, and a table of another ``type`` or ``algorithm`` the table that it speaks of; within ``event`` and
    ``record`` an empty text takes the entry's key out. Mistakes become ``merged.problems`` and their tables go. With
    ``absent`` (plugins are missing) a plugin's entry that is not there is left for ``loading`` to take as a missing type.
    """
    for room in _ROOMS:
        tables = merged.tables.get(room)
        if not isinstance(tables, dict):
            continue
        for name, table in list(tables.items()):
            if isinstance(table, dict) and isinstance(used := table.get("use"), str):
                if absent is not None and "/" in used and library.file(used) is None:
                    table.setdefault("type", used)
                elif not _laid(merged, library, table, key=(room, name)):
                    del tables[name]


def _laid(merged: Merged, library: Library, table: dict[str, Any], *, key: Key) -> bool:
    """Whether there was something to lay under the table."""
    used, here = table["use"], (*key, "use")
    file = library.file(used)
    if file is None:
        near = library.nearest(used)
        hint = f"did you mean {' or '.join(near)}?" if near else "`cdmd library` lists them"
        _report(merged, here, f"there is no predefined {_ROOMS[key[0]]} {used!r} ({hint})")
        return False
    try:
        entry = library.entry(used)
    except Unusable as fault:
        merged.problems.append(str(fault))
        return False
    if entry.room != key[0]:
        _report(merged, here, f"{used} of the library is a {_ROOMS[entry.room]}: it belongs into [{entry.room}.{key[1]}]")
        return False
    under = entry.target or entry.connector
    if "type" in table and table["type"] != under.get("type"):
        _report(merged, (*key, "type"), f'{used} of the library is of type "{under.get("type")}"; leave this key out')
        del table["type"]
    _merge(merged, table, under, key=key, file=str(file))
    return True


def _merge(merged: Merged, table: dict[str, Any], under: Mapping[str, Any], *, key: Key, file: str) -> None:
    for name, value in under.items():
        here, given = (*key, name), table.get(name)
        if name not in table:
            table[name] = deepcopy(value)
            merged.origins[here] = file
        elif given == "" and _CONTENT & set(key[2:]):
            del table[name]
        elif isinstance(given, dict) and isinstance(value, dict) and (_CONTENT & set(here[2:]) or _of_one_type(given, value)):
            _merge(merged, given, value, key=here, file=file)


def _of_one_type(given: Mapping[str, Any], under: Mapping[str, Any]) -> bool:
    """Whether both tables may be merged: two words say which keys a table has."""
    return all(given.get(word, under.get(word)) == under.get(word) for word in _SHAPING)


def _report(merged: Merged, key: Key, what: str) -> None:
    merged.problems.append(f"{merged.file_of(key)}: {show(key)}: {what}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file}: cannot be read: {error}") from error


def _built_in() -> Path:
    package = Path(__file__).parents[1]
    packaged = package / _FOLDER
    return packaged if packaged.is_dir() else package.parent / "etc" / _FOLDER


def _brought(module: str) -> Path | None:
    """The folder of entries in a plugin's package; None where it has none."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((folder for place in places if (folder := Path(place, *inner, _FOLDER)).is_dir()), None)
