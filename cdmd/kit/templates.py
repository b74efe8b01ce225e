"""Templates: text with ``{expression}`` parts, each a JMESPath expression over a source record.

Pure: no input or output. A plain path (``customer.email``, ``"E-post"``, ``items[0].id``) is compiled to direct look-ups, which
cost a tenth of JMESPath's interpreter and mean exactly the same; everything else runs in JMESPath. What a null means is
the caller's to decide. Faults name the expression and the kind of value, never the value.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import jmespath
import jmespath.exceptions
import jmespath.functions
import jmespath.visitor
from typing_extensions import override

from cdmd.errors import TemplateFault
from cdmd.kit.coercions import kind_of, plain_number

CONTEXT_NAMES: Final = frozenset({"_request", "_file", "_fetch"})
"""The names that a template sees beside the record."""

_Node: TypeAlias = dict[str, Any]
_Look: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]
# Nodes whose children are all evaluated on the node's own value, and those of which that holds for the first child only.
_SAME_SCOPE: Final = frozenset(
    {
        "function_expression", "comparator", "or_expression", "and_expression", "not_expression",
        "multi_select_list", "multi_select_dict", "key_val_pair",
    }
)  # fmt: skip
_FIRST_CHILD: Final = frozenset(
    {"subexpression", "index_expression", "pipe", "projection", "value_projection", "flatten", "filter_projection"}
)
_STRAY_REFERENCE: Final = "& stands only before an argument of a function"
_RUNTIME_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class _Interpreter(jmespath.visitor.TreeInterpreter):
    """JMESPath's own interpreter, with one more kind of node: a name that is looked up beside the record."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        super().__init__()
        self._context = context

    def visit_context(self, node: _Node, _value: Any) -> Any:
        return self._context.get(node["value"])


class Expression:
    """One compiled expression: ``look(record, context)`` gives its value.

    ``steps`` are the names and places in lists that a plain path walks; None for any other expression.
    """

    __slots__ = ("_paths", "look", "roots", "steps", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        node = _bind(_parse(text))
        self.roots = frozenset(_roots(node))
        self._paths = [path for path in map(_steps, _scoped(node)) if path]
        self.steps = _steps(node)
        self.look: _Look = self._interpreted(node) if self.steps is None else _direct(self.steps)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is compiled anew."""
        return Expression, (self.text,)

    def _interpreted(self, node: _Node) -> _Look:
        tree: Any = node
        plain = None if self.roots & CONTEXT_NAMES else jmespath.visitor.TreeInterpreter()

        def look(record: Any, context: Mapping[str, Any]) -> Any:
            try:
                return (plain or _Interpreter(context)).visit(tree, record)
            except _RUNTIME_ERRORS as error:
                fault = self._fault(error, record, context)
            # Raised outside the handler: the library's exception carries the value and must not hang on ours.
            raise fault

        return look

    def _fault(self, error: Exception, record: Any, context: Mapping[str, Any]) -> TemplateFault:
        found = [(_show(path), _direct(path)(record, context)) for path in self._paths]
        if isinstance(error, jmespath.exceptions.JMESPathTypeError):
            kind = kind_of(error.current_value)
            path = next((path for path, value in found if value is error.current_value), None)
            reason = f"{error.function_name}() does not take {kind}"
        else:
            path, value = found[0] if found else (None, record)
            kind, reason = kind_of(value), f"cannot be evaluated on {kind_of(value)}"
        where = f" (at {path})" if path else ""
        return TemplateFault(f"{{{self.text}}}: {reason}{where}", expression=self.text, path=path, kind=kind)


class Template:
    """A compiled template; ``text`` is what was written, ``roots`` the names of the record (or ``@``) that it reads.

    ``parts`` are its literal texts and its expressions in order.
    """

    __slots__ = ("_look", "expressions", "parts", "plain", "roots", "steps", "text")

    def __init__(self, text: str, parts: Sequence["str | Expression"]) -> None:
        self.text = text
        self.parts = tuple(parts)
        found = [part for part in parts if isinstance(part, Expression)]
        self.expressions = tuple(part.text for part in found)
        self.roots: frozenset[str] = frozenset().union(*(part.roots for part in found))
        self._look = found[0].look if len(self.parts) == 1 and found else None
        self.plain: _Look | None = self._look if self._look is not None and found[0].steps is not None else None
        """Does what ``render`` does without ever raising, where the template is one plain path; else None."""
        self.steps = found[0].steps if self.plain is not None else None
        """What that path walks."""

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is compiled anew."""
        return Template.parse, (self.text,)

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Compile ``text``; raises ValueError with the column (from 1) and the reason."""
        return cls(text, list(_split(text)))

    @property
    def constant(self) -> bool:
        """Whether it reads nothing, so that it always renders the same text."""
        return not self.expressions

    def render(self, record: Any, context: Mapping[str, Any]) -> Any:
        """The value on ``record`` (any JSON value); None when any part is null.

        One single expression keeps the JSON type, otherwise text. Raises TemplateFault.
        """
        if self._look is not None:
            return self._look(record, context)
        joined: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                joined.append(part)
                continue
            value = part.look(record, context)
            if value is None:
                return None
            joined.append(_inline(value, part.text))
        return "".join(joined)

    @override
    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    @override
    def __hash__(self) -> int:
        return hash(self.text)


def _inline(value: Any, expression: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    kind = kind_of(value)
    if kind == "number":
        try:
            return plain_number(value)
        except ValueError:
            message = f"{{{expression}}}: the number has no plain decimal form"
            raise TemplateFault(message, expression=expression, kind=kind) from None
    raise TemplateFault(f"{{{expression}}}: {kind} cannot stand inside text", expression=expression, kind=kind)


# ---- the text -------------------------------------------------------------------------------------------------------


def _split(text: str) -> Iterator["str | Expression"]:
    literal: list[str] = []
    at = 0
    while at < len(text):
        if text[at : at + 2] in {"{{", "}}"}:
            literal.append(text[at])
            at += 2
        elif text[at] == "}":
            raise ValueError(f"column {at + 1}: a single }} (write }}}} for a literal one)")
        elif text[at] == "{":
            if literal:
                yield "".join(literal)
                literal.clear()
            end = _closing(text, at)
            yield _expression(text[at + 1 : end], column=at + 2)
            at = end + 1
        else:
            literal.append(text[at])
            at += 1
    if literal or not text:
        yield "".join(literal)


def _closing(text: str, start: int) -> int:
    """Where the brace that opened at ``start`` closes; braces within JMESPath's three kinds of quotes do not count."""
    depth, at, quote = 0, start, ""
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"`":
            quote = character
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return at
        at += 1
    missing = f"a closing {quote}" if quote else "a closing }"
    raise ValueError(f"column {start + 1}: {missing} is missing")


def _expression(text: str, *, column: int) -> Expression:
    if not text.strip():
        raise ValueError(f"column {column}: an expression is missing between {{ and }}")
    try:
        return Expression(text.strip())
    except jmespath.exceptions.LexerError as error:
        raise ValueError(f"column {column + _lead(text) + error.lexer_position}: {error.message}") from None
    except jmespath.exceptions.IncompleteExpressionError:
        raise ValueError(f"column {column + len(text)}: the expression {text.strip()!r} is not complete") from None
    except jmespath.exceptions.ParseError as error:
        where = column + _lead(text) + error.lex_position
        raise ValueError(f"column {where}: unexpected {error.token_value!r} in the expression {text.strip()!r}") from None
    except RecursionError:
        raise ValueError(f"column {column}: the expression is nested too deeply") from None
    except PendingDeprecationWarning:
        raise ValueError(f"column {column}: between backquotes stands JSON; text is written '...'") from None
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from None


def _lead(text: str) -> int:
    return len(text) - len(text.lstrip())


# ---- the syntax tree -------------------------------------------------------------------------------------------------


def _parse(text: str) -> _Node:
    with warnings.catch_warnings():
        # `text` without JSON quotes is an old form that JMESPath gives up: say so now instead of on the day it goes.
        warnings.simplefilter("error", PendingDeprecationWarning)
        node: _Node = dict(jmespath.compile(text).parsed)
    if node["type"] == "expref":
        raise ValueError(_STRAY_REFERENCE)
    _check(node)
    return node


def _check(node: _Node) -> None:
    """Find at once what JMESPath only finds when it meets a record: unknown functions, counts of arguments, a step of 0."""
    function = node["type"] == "function_expression"
    if function:
        _check_call(node)
    if node["type"] == "slice" and node["children"][2:] == [0]:
        raise ValueError("a slice cannot have the step 0")
    for child in _nodes(node):
        if child["type"] == "expref" and not function:
            raise ValueError(_STRAY_REFERENCE)
        _check(child)


def _check_call(node: _Node) -> None:
    known = jmespath.functions.Functions.FUNCTION_TABLE
    name, count = node["value"], len(node["children"])
    if name not in known:
        raise ValueError(f"there is no function {name}()")
    signature = known[name]["signature"]
    if signature and signature[-1].get("variadic"):
        if count < len(signature):
            raise ValueError(f"{name}() takes at least {len(signature)} arguments, not {count}")
    elif count != len(signature):
        raise ValueError(f"{name}() takes {len(signature)} arguments, not {count}")


def _nodes(node: _Node) -> list[_Node]:
    return [child for child in node.get("children", ()) if isinstance(child, dict)]


def _own_scope(node: _Node) -> list[_Node]:
    """The children that are evaluated on the same value as the node."""
    children = _nodes(node)
    if node["type"] in _SAME_SCOPE:
        return children
    return children[:1] if node["type"] in _FIRST_CHILD else []


def _bind(node: _Node) -> _Node:
    """The tree with the context's names, where they stand at the top of the record, turned into nodes of their own."""
    if node["type"] == "field" and node["value"] in CONTEXT_NAMES:
        return {"type": "context", "value": node["value"], "children": []}
    own = {id(child) for child in _own_scope(node)}
    if not own:
        return node
    return {**node, "children": [_bind(child) if id(child) in own else child for child in node["children"]]}


def _roots(node: _Node) -> Iterator[str]:
    if node["type"] in {"field", "context"}:
        yield node["value"]
    elif node["type"] in {"current", "identity"}:
        yield "@"
    for child in _own_scope(node):
        yield from _roots(child)


def _scoped(node: _Node) -> Iterator[_Node]:
    """The topmost plain paths that start at the record, in order of writing."""
    if _steps(node) is not None:
        yield node
        return
    for child in _own_scope(node):
        yield from _scoped(child)


# ---- plain paths -----------------------------------------------------------------------------------------------------


class _ContextName(str):
    """The first step of a path that starts beside the record."""

    __slots__ = ()


def _steps(node: _Node) -> list[str | int] | None:
    """The keys and indexes that a plain path walks; None for any other expression."""
    match node["type"]:
        case "field" | "index":
            return [node["value"]]
        case "context":
            return [_ContextName(node["value"])]
        case "current" | "identity":
            return []
        case "subexpression" | "index_expression":
            walked = [_steps(child) for child in node["children"]]
            return None if None in walked else [step for steps in walked if steps is not None for step in steps]
        case _:
            return None


def _direct(steps: Sequence[str | int]) -> _Look:
    """A look-up that does what JMESPath does on a plain path: what is missing, or not of the kind, is null."""
    if steps and isinstance(steps[0], _ContextName):
        name, rest = str(steps[0]), _direct(steps[1:])
        return lambda _record, context: rest(context.get(name), context)
    if len(steps) == 1 and isinstance(steps[0], str):
        key = steps[0]
        return lambda record, _context: record.get(key) if isinstance(record, dict) else None
    if len(steps) == 2 and isinstance(steps[0], str) and isinstance(steps[1], str):  # noqa: PLR2004 - the common path
        return _within(steps[0], steps[1])

    def look(record: Any, _context: Mapping[str, Any]) -> Any:
        value = record
        for step in steps:
            if isinstance(step, str):
                if not isinstance(value, dict):
                    return None
                value = value.get(step)
            elif isinstance(value, list) and -len(value) <= step < len(value):
                value = value[step]
            else:
                return None
        return value

    return look


def _within(outer: str, inner: str) -> _Look:
    def look(record: Any, _context: Mapping[str, Any]) -> Any:
        held = record.get(outer) if isinstance(record, dict) else None
        return held.get(inner) if isinstance(held, dict) else None

    return look


def _show(steps: Sequence[str | int]) -> str:
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return shown.removeprefix(".")
