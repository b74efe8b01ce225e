"""The scale of plugins: what each tier asks for, decided from a package's own files. Pure: ``plugin_check`` reads and runs.

Bronze: it works and harms nobody. Silver: administrators can run it. Gold: its authors keep it so. What no machine can tell is
asked.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from cdmd.config.reference import describe
from cdmd.contracts import EventSettings
from cdmd.plugins.brought import Brought

Tier: TypeAlias = Literal["bronze", "silver", "gold"]
TIERS: Final[tuple[Tier, ...]] = ("bronze", "silver", "gold")
PUBLIC: Final = frozenset(("cdmd", "cdmd.testing"))
BLOCKING: Final = re.compile(
    r"(time\.sleep|requests\.\w+|urllib\.request\.urlopen|subprocess\.(run|call|check_\w+|Popen)|sqlite3\.connect|os\.system|open)"
)
QUESTIONS: Final = (
    "Does what it does elsewhere bear being done twice? An extension may be called again, a delivery come again.",
    "Is nobody's data, and no secret, in its log lines, reasons and errors?",
    "Do its tests try the other side away, slow, wrong and refusing?",
    "Does its README say what data it sends where, and what becomes of events while that is away?",
    "Does it keep within the other side's limits (source.budget, Retry-After)?",
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a package.

    ``sources`` are the trees of its modules, ``tests`` those of its tests, by path.
    ``fault`` is why it cannot be loaded, ``ran`` what is wrong by its tests, ``typed`` by mypy (None: nothing).
    ``marked``: it has a ``py.typed``. ``watched``: its tests were looked through for calls that block.
    """

    project: Mapping[str, Any]
    readme: str
    sources: Mapping[str, ast.Module]
    tests: Mapping[str, ast.Module]
    brought: Brought | None
    fault: str | None
    ran: str | None
    typed: str | None
    marked: bool
    watched: bool


class Criterion(NamedTuple):
    """One line of the scale; ``judge`` gives what is missing, each in a sentence."""

    tier: Tier
    name: str
    asks: str
    judge: Callable[[Facts], Iterator[str]]


def reached(results: Sequence[tuple[Criterion, Sequence[str]]]) -> Tier | None:
    """The highest tier of which, and of all below, nothing is missing."""
    found: Tier | None = None
    for tier in TIERS:
        if any(missing for criterion, missing in results if criterion.tier == tier):
            break
        found = tier
    return found


def table() -> str:
    """The scale as a Markdown table."""
    rows = [f"| {one.tier} | {one.name} | {one.asks} |" for one in CRITERIA]
    return "\n".join(["| tier | | asks |", "|---|---|---|", *rows, *(f"| gold | asked | {one} |" for one in QUESTIONS)])


# ---- bronze --------------------------------------------------------------------------------------------------------


def _loads(facts: Facts) -> Iterator[str]:
    if not _points(facts):
        yield 'pyproject.toml has no entry point in the group: [project.entry-points."cdmd"]'
    elif facts.fault is not None:
        yield facts.fault


def _public(facts: Facts) -> Iterator[str]:
    for path, tree in {**facts.sources, **facts.tests}.items():
        for node in ast.walk(tree):
            for name in _imported(node):
                if name.partition(".")[0] == "cdmd" and name not in PUBLIC:
                    yield f"{path}:{getattr(node, 'lineno', 0)}: imports {name}, which may change without notice"


def _tested(facts: Facts) -> Iterator[str]:
    if not facts.tests:
        yield "there are no tests (tests/test_*.py)"
    elif facts.ran is not None:
        yield facts.ran


def _described(facts: Facts) -> Iterator[str]:
    project = facts.project.get("project", {})
    for key in ("description", "license", "requires-python"):
        if not project.get(key):
            yield f"pyproject.toml: project.{key} is missing"
    if not facts.readme.strip():
        yield "README.md is missing or empty"


# ---- silver --------------------------------------------------------------------------------------------------------


def _declared(facts: Facts) -> Iterator[str]:
    brought = facts.brought
    if brought is None:
        return
    types: list[tuple[str, type[msgspec.Struct]]] = [
        (one.type, one.Settings) for one in (*brought.connectors, *brought.targets)
    ]
    types += [(one.name, one.Settings) for one in brought.formats]
    if brought.settings is not None:
        types.append(("its own table", brought.settings))
    elif any(isinstance(node, ast.Attribute) and node.attr == "settings" and _is_context(node) for node in _nodes(facts)):
        yield "it reads context.settings: declare them with the hook cdmd_settings"
    for name, struct in types:
        for field in msgspec.structs.fields(struct):
            if not describe(field.type) and EventSettings not in (field.type, *get_args(field.type)):
                yield f"{name}: the key {field.encode_name} has no Meta(description=...)"


def _bounded(facts: Facts) -> Iterator[str]:
    for path, tree in facts.sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"cdmd.extension", "extension"}:
                given = {keyword.arg for keyword in node.keywords}
                for key in ("timeout", "on_failure"):
                    if key not in given:
                        yield f"{path}:{node.lineno}: the extension does not say {key}="


def _unblocked(facts: Facts) -> Iterator[str]:
    for path, tree in facts.sources.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.AsyncFunctionDef):
                for call in _calls(function):
                    if BLOCKING.fullmatch(ast.unparse(call.func)):
                        yield f"{path}:{call.lineno}: {ast.unparse(call.func)} blocks the event loop for everybody"
    if not facts.watched:
        yield "its tests were not watched for calls that block: pip install blockbuster"


def _explained(facts: Facts) -> Iterator[str]:
    if "pip install" not in facts.readme:
        yield "README.md does not say how it is installed (pip install ...)"
    if "```toml" not in facts.readme and not re.search(r"^    \[", facts.readme, re.MULTILINE):
        yield "README.md shows no configuration (a block of toml)"


def _together(facts: Facts) -> Iterator[str]:
    names = {node.id for tree in facts.tests.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for tree in facts.tests.values() for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if not names & {"DaemonProcess", "cdmd_daemon"}:
        yield "no test runs it in a daemon (cdmd_daemon, DaemonProcess)"


# ---- gold ----------------------------------------------------------------------------------------------------------


def _typed(facts: Facts) -> Iterator[str]:
    if not facts.marked:
        yield "its package has no py.typed"
    if facts.typed is not None:
        yield facts.typed


def _versioned(facts: Facts) -> Iterator[str]:
    if not any(isinstance(node, ast.Name) and node.id == "CDMD_HOOKS" for node in _nodes(facts)):
        yield "it does not say which version of the hooks it was written for (CDMD_HOOKS = (1, 0))"
    needed = facts.project.get("project", {}).get("dependencies", [])
    if not any(re.match(r"cdmd\b(?!-)", one) for one in needed):
        yield "pyproject.toml: project.dependencies does not name cdmd"
    for one in needed:
        if not re.search(r"[>=~]=", one):
            yield f"pyproject.toml: {one} has no lower bound"


CRITERIA: Final = (
    Criterion("bronze", "loads", "An entry point in the group `cdmd`, and it is taken in.", _loads),
    Criterion("bronze", "public names", "Of cdmd it imports `cdmd` and `cdmd.testing` alone.", _public),
    Criterion("bronze", "tests", "There are tests, and they pass.", _tested),
    Criterion("bronze", "said what it is", "Description, licence, Python version, a README.", _described),
    Criterion("silver", "settings", "Every key is declared and described.", _declared),
    Criterion("silver", "deadlines", "Every extension says its `timeout` and `on_failure`.", _bounded),
    Criterion(
        "silver", "never blocks", "No call in a coroutine blocks, in the code or seen in its tests (blockbuster).", _unblocked
    ),
    Criterion("silver", "README", "How it is installed and configured.", _explained),
    Criterion("silver", "in the daemon", "A test runs it in a real daemon.", _together),
    Criterion("gold", "types", "`py.typed`, and mypy finds nothing (strict).", _typed),
    Criterion("gold", "versions", "`CDMD_HOOKS`, and a lower bound for all that it needs.", _versioned),
)


def _points(facts: Facts) -> Mapping[str, str]:
    found: Mapping[str, str] = facts.project.get("project", {}).get("entry-points", {}).get("cdmd", {})
    return found


def _nodes(facts: Facts) -> Iterator[ast.AST]:
    return (node for tree in facts.sources.values() for node in ast.walk(tree))


def _is_context(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "context"


def _calls(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Calls of the coroutine itself, not of functions within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
