"""What plugins rely on, as a list: every hook with its arguments, every public name with its fields, methods and arguments.

``contract.json`` keeps it by the version of the hooks that brought it. Additions are written there by ``python -m
tests.plugins.contract``; nothing is ever taken out.
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

import cdmd
from cdmd import hookspecs
from cdmd.contracts import Budget, BulkTable, Clock, Http, HttpAnswer
from cdmd.contracts.http import Turn

FILE = Path(__file__).parent / "frozen" / "contract.json"


def described() -> dict[str, list[str]]:
    """Entries by the thing they belong to: a field or argument, ``method.argument``; ``!`` behind it: it must be given."""
    hooks = {name: list(_arguments(hook)) for name, hook in vars(hookspecs).items() if name.startswith("cdmd_")}
    names = {f"cdmd.{name}": list(_members(getattr(cdmd, name))) for name in cdmd.__all__ if not name.startswith("_")}
    behind = {one.__name__: list(_members(one)) for one in (BulkTable, Budget, Clock, Http, HttpAnswer, Turn)}
    return {name: sorted(entries) for name, entries in {**hooks, **names, **behind}.items()}


def recorded() -> dict[str, dict[str, list[str]]]:
    """What each version of the hooks brought."""
    found: dict[str, dict[str, list[str]]] = json.loads(FILE.read_text())
    return found


def together(versions: Mapping[str, Mapping[str, list[str]]]) -> dict[str, set[str]]:
    """All that was ever promised."""
    found: dict[str, set[str]] = {}
    for version in versions.values():
        for name, entries in version.items():
            found.setdefault(name, set()).update(entries)
    return found


def broken(promised: Mapping[str, set[str]], now: Mapping[str, list[str]]) -> list[str]:
    """What was promised and is gone, and what has to be given now that did not exist."""
    found = [f"{name} is gone" for name in promised if name not in now]
    for name, entries in promised.items():
        if name in now:
            there = {one.rstrip("!") for one in now[name]}
            found += [f"{name}: {one.rstrip('!')} is gone" for one in entries if one.rstrip("!") not in there]
            found += [
                f"{name}: {one.rstrip('!')} has to be given" for one in now[name] if one.endswith("!") and one not in entries
            ]
    return sorted(found)


def added(promised: Mapping[str, set[str]], now: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What is not recorded yet."""
    known = {name: {one.rstrip("!") for one in entries} for name, entries in promised.items()}
    new = {name: [one for one in entries if one.rstrip("!") not in known.get(name, set())] for name, entries in now.items()}
    return {name: entries for name, entries in new.items() if entries or name not in promised}


def _members(thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        if callable(thing):
            yield from _arguments(thing)
        return
    if issubclass(thing, Exception):
        yield from _arguments(thing.__init__) if inspect.isfunction(thing.__init__) else ()
        return
    fields = msgspec.structs.fields(thing) if issubclass(thing, msgspec.Struct) else ()
    yield from (f"{one.name}!" if one.required else one.name for one in fields)
    known = {one.name for one in fields}
    for name in {*dir(thing), *getattr(thing, "__annotations__", ())} - known:
        if not name.startswith("_"):
            yield name
            method = inspect.getattr_static(thing, name, None)
            if inspect.isfunction(method):
                yield from (f"{name}.{one}" for one in _arguments(method))


def _arguments(function: Any) -> Iterator[str]:
    for one in inspect.signature(function).parameters.values():
        if one.name != "self" and one.kind not in {one.VAR_KEYWORD, one.VAR_POSITIONAL}:
            yield one.name if one.default is not one.empty else f"{one.name}!"


if __name__ == "__main__":
    versions, now = recorded() if FILE.exists() else {}, described()
    if faults := broken(together(versions), now):
        sys.exit("\n".join(faults))
    current = versions.setdefault(".".join(map(str, cdmd.HOOKS_VERSION)), {})
    for thing, entries in added(together(versions), now).items():
        current[thing] = sorted({*current.get(thing, ()), *entries})
    FILE.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")
