"""Where the records of a JSON or XML document are. Pure."""

import json
from collections import Counter
from contextlib import suppress
from typing import Final
from xml.parsers import expat

_BLANK: Final = " \t\r\n"
_DEEPEST: Final = 8


def is_lines(text: str) -> bool:
    """Whether each line is a JSON object by itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    whole = lines if text.endswith("\n") else lines[:-1] or lines
    return all(map(_is_object, whole[:5])) and (len(whole) > 1 or not records_in_json(text))


def records_in_json(text: str) -> str | None:
    """The path of names to the array of objects; empty for the document itself, None where there is none."""
    return _path(text, _past(text, 0), 0)


def record_in_xml(head: bytes) -> str | None:
    """The name of the elements that are repeated, the outermost first; None where it is no XML."""
    counts: Counter[tuple[int, str]] = Counter()
    depth = 0

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal depth
        counts[depth, name.rpartition("}")[2]] += 1
        depth += 1

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = _refused
    with suppress(expat.ExpatError, ValueError, LookupError):
        parser.Parse(head, False)
    repeated = sorted((level, -count, name) for (level, name), count in counts.items() if count > 1 and level)
    inner = sorted((level, name) for level, name in counts if level)
    return repeated[0][2] if repeated else inner[0][1] if inner else None


def _refused(*_: object) -> None:
    raise ValueError("a document type declaration")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _path(text: str, at: int, depth: int) -> str | None:
    """Into the objects, member by member, until an array of objects begins."""
    if text[at : at + 1] == "[":
        return "" if text[_past(text, at + 1) :][:1] in {"{", "]", ""} else None
    if text[at : at + 1] != "{" or depth > _DEEPEST:
        return None
    at = _past(text, at + 1)
    decode = json.JSONDecoder().raw_decode
    while text[at : at + 1] == '"':
        try:
            name, at = decode(text, at)
            at = _past(text, _past(text, at) + 1)
            inner = _path(text, at, depth + 1)
            if inner is not None:
                return f"{name}.{inner}" if inner else str(name)
            at = _past(text, decode(text, at)[1])
        except ValueError:
            return None
        at = _past(text, at + 1)
    return None


def _past(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANK:
        at += 1
    return at
