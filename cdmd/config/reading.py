"""From files to one merged table that remembers which key came from which file. Not for: what the keys mean."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import FieldInfo

Key: TypeAlias = tuple[str, ...]


@dataclass
class Merged:
    """The merged tables, where each key came from, the files that were read, and what was wrong on the way."""

    tables: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def file_of(self, key: Key) -> str:
        """The file that holds ``key``, or the nearest table around it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.origins:
                return self.origins[key[:length]]
        return self.files[0] if self.files else "defaults"

    def keep(self, table: str, name: str) -> None:
        """Forget all tables under ``table`` but the one of that name, where it is there."""
        named = self.tables.get(table)
        if isinstance(named, dict) and name in named:
            self.tables[table] = {name: named[name]}


@cache
def fields_of(struct: type[msgspec.Struct]) -> tuple[FieldInfo, ...]:
    """A struct's fields: found once a type, because a thousand connectors have the same few (tests/bench/pacing.py)."""
    return msgspec.structs.fields(struct)


def show(key: Key) -> str:
    """A key path as TOML writes it."""
    return ".".join(
        part if part.replace("_", "").replace("-", "").isalnum() and part.isascii() else json.dumps(part, ensure_ascii=False)
        for part in key
    )


def one_line(text: str) -> str:
    """The text with everything that does not print written out, so that a mistake stays one line."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def read(path: Path, *, required: bool) -> Merged:
    """Read ``path`` and every ``*.toml`` in ``conf.d`` beside it, in name order; mistakes are collected, nothing is raised."""
    merged = Merged()
    if required or _present(path):
        _add(merged, path)
    for file in _beside(merged, path.parent / "conf.d"):
        _add(merged, file)
    return merged


def _present(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # behind a directory that may not be entered: reading it says so
        return True


def _beside(merged: Merged, folder: Path) -> list[Path]:
    """What is in the folder. One that may not be looked into is a mistake: without it, half a configuration would do."""
    try:
        return sorted(file for file in folder.iterdir() if file.match("*.toml"))
    except FileNotFoundError:
        return []
    except OSError as error:
        merged.problems.append(f"{folder}: cannot be read: {error.strerror}")
        return []


def _add(merged: Merged, file: Path) -> None:
    name = str(file)
    merged.files.append(name)
    text = ""
    try:
        text = file.read_bytes().decode()
        tables = tomllib.loads(text)
    except OSError as error:
        merged.problems.append(f"{name}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        merged.problems.append(f"{name}: byte {error.start + 1} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        merged.problems.append(f"{name}: not TOML: {_where(str(error), text)}")
    except RecursionError:
        merged.problems.append(f"{name}: not TOML: nested too deeply")
    else:
        _merge(merged, merged.tables, tables, key=(), file=name)


def _where(message: str, text: str) -> str:
    """The parser's message, which says line and column except for the end of the document."""
    line, column = text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1
    return message.replace("(at end of document)", f"(at line {line}, column {column}, the end of the file)")


def _merge(merged: Merged, into: dict[str, Any], table: Mapping[str, Any], *, key: Key, file: str) -> None:
    for name, value in table.items():
        here = (*key, name)
        if name not in into:
            into[name] = {} if isinstance(value, dict) else value
            merged.origins[here] = file
        elif not (isinstance(value, dict) and isinstance(into[name], dict)):
            merged.problems.append(f"{file}: {show(here)}: also given in {merged.file_of(here)}")
            continue
        if isinstance(value, dict):
            _merge(merged, into[name], value, key=here, file=file)
