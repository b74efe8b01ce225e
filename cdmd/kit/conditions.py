"""Conditions: CEL expressions that hold or do not, over plain values.

Pure: no input or output. A condition never guesses: a missing key, kinds that do not compare, or a result that is not a
boolean is a fault, which says why without any value. What a fault means is the caller's to decide.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from typing_extensions import override

from cdmd.errors import ConditionFault, ValueMissing
from cdmd.kit.coercions import kind_of
from cdmd.kit.comparisons import Unsure, plain_answer

if TYPE_CHECKING:
    import cel

_LONGEST: Final = 2_000
_DEEPEST: Final = 200
_MACROS: Final = frozenset(
    {"all", "exists", "exists_one", "existsOne", "map", "filter", "bind", "transformList", "transformMap"}
)
_TOKEN: Final = re.compile(r"""//[^\n]*|[A-Za-z_][A-Za-z0-9_]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s]""")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOOPS: Final = _MACROS - {"bind"}
_GATHER: Final = frozenset({"map", "filter", "transformList", "transformMap"})
_MOST_STEPS: Final = 2_000_000
"""About half a second: what a macro may take that looks at every element of a list. CEL copies all of a name's value whenever
it is read, and what a macro has gathered with every element."""
_OF_EACH: Final = 20
_OF_A_PATTERN: Final = 150
_OF_A_STEP: Final = 256
"""Characters of a text that are copied, or looked through, in about the time of one value."""
_REASONS: Final = (
    (KeyError, "a key is missing (guard it with has())"),
    (LookupError, "an index is outside its list"),
    (ZeroDivisionError, "it divides by zero"),
    (ArithmeticError, "a number is out of range"),
    (TypeError, "the kinds of values do not fit together (CEL does not convert between text and numbers)"),
    (ValueError, "it meets a value that CEL cannot hold (an unpaired surrogate, for example)"),
    (RuntimeError, "a name is unknown, or a function does not take its argument"),
)


class Failures(NamedTuple):
    """How often a condition was false for want of a value, and how often it failed; ``fault`` says how it did last."""

    missing: int = 0
    failed: int = 0
    fault: str | None = None

    def with_one(self, fault: ConditionFault | None) -> "Failures":
        """One more; None: for want of a value."""
        if fault is None:
            return Failures(self.missing + 1, self.failed, self.fault)
        return Failures(self.missing, self.failed + 1, str(fault))


class _Loops(NamedTuple):
    """What macros that look at every element take: ``each`` steps for an element, and ``copies`` of all that is asked about."""

    each: int = 0
    copies: int = 0


class Condition:
    """A compiled condition; ``text`` is what was written."""

    __slots__ = ("_loops", "_names", "_plain", "_program", "text")

    def __init__(self, text: str, program: "cel.Program", names: Sequence[str]) -> None:
        self.text, self._program, self._names, self._plain = text, program, tuple(names), plain_answer(text)
        self._loops = _loops(text, self._names)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is compiled anew."""
        return partial(Condition.parse, names=self._names), (self.text,)

    @property
    def names(self) -> tuple[str, ...]:
        """Which of the names it may speak of it does speak of."""
        return self._names

    def paths(self) -> frozenset[tuple[str, ...]]:
        """What it reads, as far as its text shows: ``profile.traits["vip"] == true`` reads ``("profile", "traits", "vip")``.

        A path that ends early stands for all below it.
        """
        return frozenset(path for path in _paths(self.text) if path[0] in self._names)

    @classmethod
    def parse(cls, text: str, *, names: Sequence[str] = ("event",)) -> "Condition":
        """Compile ``text``, which may speak of ``names`` only; raises ValueError with the reason."""
        if len(text) > _LONGEST:
            raise ValueError(f"a condition has at most {_LONGEST} characters")
        try:
            # Imported where a condition is written: it brings a command line along that takes 16 MiB and a tenth of a second.
            program: cel.Program = import_module("cel").compile(text)
            used, functions = program.variables(), program.functions()
        except BaseException as error:
            if not _is_cel(error):
                raise
            raise ValueError(_syntax(str(error))) from None
        if _nested(text):
            raise ValueError("a macro within a macro may never end on a long list: ask for one thing after the other")
        unknown = sorted(set(used) - set(names))
        # A macro binds names of its own, and CEL's analysis does not tell them from free ones.
        if unknown and not _MACROS & set(functions) and not any(f".{macro}(" in text for macro in _MACROS):
            raise ValueError(f"there is no {unknown[0]} here, only {', '.join(names)}")
        return cls(text, program, [name for name in names if name in used])

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Whether the condition is true for the values in ``scope``. Raises ConditionFault."""
        plain = self._answered(scope)
        if plain is not None:
            return plain
        result = self.value(scope)
        if result is True or result is False:
            return bool(result)
        raise ConditionFault(f"{self.text}: the result is {kind_of(result)}, not a boolean")

    def answer(self, scope: Mapping[str, Any]) -> bool | None:
        """The same, but None where it is for want of a value. Raises ConditionFault."""
        plain = self._plain
        if plain is not None:
            try:
                return plain(scope)
            except Unsure:
                pass
        try:
            return self.holds(scope)
        except ValueMissing:
            return None

    def _answered(self, scope: Mapping[str, Any]) -> bool | None:
        if self._plain is None:
            return None
        try:
            return self._plain(scope)
        except Unsure:
            return None

    def value(self, scope: Mapping[str, Any]) -> Any:
        """What it comes to for the values in ``scope``, whatever its kind. Raises ConditionFault."""
        reason, missing = "", False
        result: Any = None
        try:
            # CEL converts by recursion in native code: what is nested too deeply would end the process.
            values = {name: scope[name] for name in self._names if name in scope}
            reason = self._refused(values)
            if not reason:
                result = self._program.execute(values)
        except BaseException as error:
            if not _is_cel(error):
                raise
            reason, missing = self._reason(error), isinstance(error, KeyError)
        if reason:
            # Raised outside the handler: CEL's exceptions may quote values and must not hang on ours.
            raise (ValueMissing if missing else ConditionFault)(f"{self.text}: {reason}")
        return result

    def _refused(self, values: Mapping[str, Any]) -> str:
        """Why these values are not handed to CEL; nothing where they are."""
        each, copies = self._loops
        size = _size(values, texts=copies > 0)
        if size is None:
            return f"the event is nested deeper than {_DEEPEST} levels"
        if each and size.longest * (each + size.values * copies) > _MOST_STEPS:
            return "a list is too long to look at each of its elements, with so much beside it"
        return ""

    def _reason(self, error: BaseException) -> str:
        if type(error) is KeyError and error.args and f".{error.args[0]}" in self.text:
            return f"there is no {error.args[0]} (guard it with has())"
        return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "CEL failed on this event")

    @override
    def __repr__(self) -> str:
        return f"Condition({self.text!r})"


def _paths(text: str) -> Iterator[tuple[str, ...]]:
    """Every chain of names in ``text``, with indices that are text; the name of a function is not part of one."""
    tokens = [found[0] for found in _TOKEN.finditer(text)]
    place = 0
    while place < len(tokens):
        if not _WORD.fullmatch(tokens[place]):
            place += 1
            continue
        path, place = [tokens[place]], place + 1
        while (step := _step(tokens[place : place + 3])) is not None:
            name, width = step
            path.append(name)
            place += width
        called = tokens[place : place + 1] == ["("]
        if path[:-1] or not called:
            yield tuple(path[:-1] if called else path)


def _nested(text: str) -> bool:
    """Whether one of CEL's macros that look at every element stands within another: their times multiply."""
    return any(sign in _LOOPS and after == "(" and inside for sign, after, inside in _within_loops(text))


def _loops(text: str, names: Sequence[str]) -> _Loops:
    each = copies = 0
    before = ""
    for sign, after, inside in _within_loops(text):
        if sign in _LOOPS and after == "(":
            each, copies = each + _OF_EACH, copies + (sign in _GATHER)
        elif inside:
            each += _OF_A_PATTERN * (sign == "matches")
            copies += sign in names and before != "."
        before = sign
    return _Loops(each, copies)


def _within_loops(text: str) -> Iterator[tuple[str, str, bool]]:
    """Every token of ``text`` with the next one, and whether it stands within a macro that looks at every element."""
    inside: list[bool] = []
    before = ""
    tokens = [found[0] for found in _TOKEN.finditer(text)]
    for sign, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if sign == "(":
            inside.append(before in _LOOPS)
        elif sign == ")" and inside:
            inside.pop()
        yield sign, after, any(inside)
        before = sign


def _step(tokens: Sequence[str]) -> tuple[str, int] | None:
    """The next name of a chain, and of how many tokens it is."""
    match tokens:
        case [".", word, *_] if _WORD.fullmatch(word):
            return word, 2
        case ["[", quoted, "]"] if quoted[0] in "\"'" and "\\" not in quoted:
            return quoted[1:-1], 3
        case _:
            return None


def _is_cel(error: BaseException) -> bool:
    """Ordinary errors, and the panic of CEL's native code, which stands outside of Exception and cannot be imported."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _syntax(message: str) -> str:
    """CEL's own words, from the first line; its parser repeats the expression before them and draws it after.

    What it would rather have seen is a list of every token that there is, so it is left out.
    """
    line = message.partition("ERROR: <input>:")[2].partition("\n")[0] or message.partition("\n")[0]
    return (
        line.partition(" expecting {")[0]
        .replace("mismatched input '<EOF>'", "it ends too early")
        .replace(": Syntax error:", ":")
    )


class _Size(NamedTuple):
    """How many values there are, and how many the longest list or mapping has."""

    values: int
    longest: int


def _size(value: Any, *, texts: bool) -> _Size | None:
    """None for what is nested too deep; with ``texts`` a long one counts as several values."""
    level, values, longest = [value], 0, 0
    for _ in range(_DEEPEST):
        longest = max([longest, *map(len, level)])
        below = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
        values += len(below)
        if texts:
            values += sum(len(one) // _OF_A_STEP for one in below if type(one) is str)
        level = [child for child in below if isinstance(child, (dict, list, tuple))]
        if not level:
            return _Size(values, longest)
    return None
