"""Conditions of plain comparisons, answered without CEL: ``indicators.a >= 3 && profile.traits.city == 'Lund'``.

Most conditions are nothing else, and CEL converts all that it is handed for each of them. Names and ``has()`` of them, numbers,
texts and truth values, ``== != < <= > >=``, ``&& || !`` and parentheses; anything else, and kinds of values that do not
compare at once, is left to CEL. As there, what is missing makes a comparison unknown, and ``false && unknown`` is false.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Answer: TypeAlias = Callable[[Any], bool | None]
"""True, False, or None where a value is missing. Raises ``Unsure``."""

Find: TypeAlias = Callable[[Any], Any]
"""What stands at the end of a path in what is asked about, or ``MISSING``. Raises ``Unsure``."""


class Unsure(Exception):
    """CEL has to be asked."""


_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|(?P<text>'[^'\\]*'|"[^"\\]*")"""
    r"""|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!().]))"""
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RESERVED: Final = frozenset(("in", "null", "true", "false", "has", "as", "if", "for", "let", "while", "return"))
_EXACT: Final = 2**53
"""Up to it a whole number is a double, so that it does not matter which of the two it is compared as."""

MISSING: Final = object()
"""Nothing stands there."""

_MOST: Final = 100


def in_mappings(path: Sequence[str]) -> Find:
    """Where mappings are asked about: what stands there; only at the end of a path may something be missing."""
    *outer, last = path

    def find(scope: Mapping[str, Any]) -> Any:
        value: Any = scope
        for name in outer:
            value = value.get(name, MISSING)
            if type(value) is not dict:
                raise Unsure
        return value.get(last, MISSING)

    return find


def plain_answer(text: str, finding: Callable[[Sequence[str]], Find] = in_mappings) -> Answer | None:
    """The function that answers the condition ``text``; None where CEL has to.

    ``finding`` makes of a path what finds its value in whatever is asked about; it raises ValueError where it cannot.
    """
    tokens = _tokens(text)
    if tokens is None or len(tokens) > _MOST:
        return None
    try:
        parser = _Parser(tokens, finding)
        answer = parser.either()
    except (ValueError, IndexError):
        return None
    return answer if parser.done else None


def _tokens(text: str) -> Sequence[tuple[str, str]] | None:
    tokens, place, text = [], 0, text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            return None
        tokens.append((found.lastgroup, found[found.lastgroup]))
        place = found.end()
    return tokens


class _Parser:
    """Recursive descent; raises ValueError and IndexError on what is not of the grammar."""

    def __init__(self, tokens: Sequence[tuple[str, str]], finding: Callable[[Sequence[str]], Find]) -> None:
        self._tokens, self._place, self._finding = tokens, 0, finding

    @property
    def done(self) -> bool:
        return self._place == len(self._tokens)

    def either(self) -> Answer:
        parts = [self.both()]
        while self._takes("||"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else _any(parts)

    def both(self) -> Answer:
        parts = [self.one()]
        while self._takes("&&"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else _all(parts)

    def one(self) -> Answer:
        if self._takes("!"):
            return _not(self.one())
        if self._takes("("):
            inner = self.either()
            self._needs(")")
            return inner
        if self._tokens[self._place] == ("word", "has"):
            self._place += 1
            self._needs("(")
            find = self._path()
            self._needs(")")
            return _has(find)
        return self._comparison()

    def _comparison(self) -> Answer:
        find = self._path()
        if self.done or self._tokens[self._place][1] not in _COMPARE:
            return _truth(find)
        compare = _COMPARE[self._tokens[self._place][1]]
        self._place += 1
        kind, text = self._tokens[self._place]
        self._place += 1
        if kind == "number":
            number = float(text) if "." in text else int(text)
            if abs(number) > _EXACT:
                raise ValueError(text)
            return _against_number(find, compare, number)
        if kind == "text":
            return _against_text(find, compare, text[1:-1])
        if (kind, text) in {("word", "true"), ("word", "false")} and compare in {operator.eq, operator.ne}:
            return _against_truth(find, compare, said=text == "true")
        raise ValueError(text)

    def _path(self) -> Find:
        path = [self._word()]
        while self._takes("."):
            path.append(self._word())
        if len(path) == 1:
            raise ValueError("a name alone")
        return self._finding(path)

    def _word(self) -> str:
        kind, text = self._tokens[self._place]
        if kind != "word" or text in _RESERVED:
            raise ValueError(text)
        self._place += 1
        return text

    def _takes(self, sign: str) -> bool:
        if self.done or self._tokens[self._place] != ("sign", sign):
            return False
        self._place += 1
        return True

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            raise ValueError(sign)


def _has(find: Find) -> Answer:
    return lambda scope: find(scope) is not MISSING


def _truth(find: Find) -> Answer:
    def answer(scope: Any) -> bool | None:
        value = find(scope)
        if value is True or value is False:
            return bool(value)
        if value is MISSING:
            return None
        raise Unsure

    return answer


def _against_number(find: Find, compare: Callable[[Any, Any], bool], number: float) -> Answer:
    def answer(scope: Any) -> bool | None:
        value = find(scope)
        kind = type(value)
        if kind is float or (kind is int and -_EXACT <= value <= _EXACT):
            return compare(value, number)
        if value is MISSING:
            return None
        raise Unsure

    return answer


def _against_text(find: Find, compare: Callable[[Any, Any], bool], text: str) -> Answer:
    def answer(scope: Any) -> bool | None:
        value = find(scope)
        if type(value) is str:
            return compare(value, text)
        if value is MISSING:
            return None
        raise Unsure

    return answer


def _against_truth(find: Find, compare: Callable[[Any, Any], bool], *, said: bool) -> Answer:
    def answer(scope: Any) -> bool | None:
        value = find(scope)
        if value is True or value is False:
            return compare(value, said)
        if value is MISSING:
            return None
        raise Unsure

    return answer


def _not(inner: Answer) -> Answer:
    def answer(scope: Any) -> bool | None:
        found = inner(scope)
        return None if found is None else not found

    return answer


def _all(parts: Sequence[Answer]) -> Answer:
    def answer(scope: Any) -> bool | None:
        unknown = False
        for part in parts:
            found = part(scope)
            if found is False:
                return False
            unknown = unknown or found is None
        return None if unknown else True

    return answer


def _any(parts: Sequence[Answer]) -> Answer:
    def answer(scope: Any) -> bool | None:
        unknown = False
        for part in parts:
            found = part(scope)
            if found:
                return True
            unknown = unknown or found is None
        return None if unknown else False

    return answer
