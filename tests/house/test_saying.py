"""What is said: log lines within their allow-list, every hook and key documented, secrets compared in constant time."""

import ast
import re
from collections.abc import Iterator

import pytest

from cdmd import hookspecs
from cdmd.config.reference import reference
from cdmd.connectors.registered import cdmd_connectors
from cdmd.kit.logs import SAFE_KEYS
from tests.house.reading import ROOT, Module, calls, modules

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SECRET = re.compile(r"(^|_)(token|signature|secret|password|passphrase|hmac|mac)$")


def log_calls(module: Module) -> Iterator[ast.Call]:
    """Calls of a logger: ``log.info(...)``, ``self._log.error(...)``, ``structlog.get_logger().warning(...)``."""
    for call in calls(module):
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr in LEVELS and re.search(r"(^|[._])log$|logger", ast.unparse(call.func.value)):
            yield call


def test_log_calls_are_found() -> None:
    assert sum(len(list(log_calls(module))) for module in modules()) >= 10


def test_a_log_line_has_a_fixed_name_and_keys_from_the_list() -> None:
    said = [(f"{module.path}:{call.lineno}", call) for module in modules() for call in log_calls(module)]
    assert [where for where, call in said if not _fixed(call)] == []
    keys = [(where, keyword.arg) for where, call in said for keyword in call.keywords]
    assert [(where, key) for where, key in keys if key not in SAFE_KEYS] == []


def _fixed(call: ast.Call) -> bool:
    match call.args:
        case [ast.Constant(value=str(name))]:
            return SNAKE.fullmatch(name) is not None
        case _:
            return False


def _secret(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return SECRET.search(name) is not None


def test_secrets_are_compared_in_constant_time() -> None:
    """With hmac.compare_digest."""
    compared = [(module, node) for module in modules() for node in module.nodes if isinstance(node, ast.Compare)]
    assert [f"{module.path}:{node.lineno}" for module, node in compared if _tells_a_secret(node)] == []


def _tells_a_secret(node: ast.Compare) -> bool:
    sides = [node.left, *node.comparators]
    told_apart = any(isinstance(side, ast.Constant) for side in sides)
    equal = any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops)
    return equal and not told_apart and any(map(_secret, sides))


def test_signatures_and_tokens_go_through_compare_digest() -> None:
    signing = next(module for module in modules() if module.path == "cdmd/kit/signing.py")
    assert any(ast.unparse(call.func) == "hmac.compare_digest" for call in calls(signing))


HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("cdmd_"))


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_promises_something(name: str) -> None:
    assert (getattr(hookspecs, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_in_the_guide_for_plugins(name: str) -> None:
    guide = ROOT / "plugins" / "README.md"
    assert not guide.exists() or name in guide.read_text()


def test_every_key_of_the_configuration_is_described() -> None:
    settings = {one.type: one.Settings for one in cdmd_connectors()}
    rows = [line for line in reference(settings).splitlines() if line.startswith("| `")]
    assert len(rows) >= 40
    assert [row for row in rows if not row.rstrip(" |").endswith((".", '"', "`")) or re.search(r"\|\s*\|\s*$", row)] == []


def test_what_people_read_says_one_or_several_and_not_both() -> None:
    """``1 row`` and ``2 rows``: see ``kit.measures.several``."""
    texts = [*ROOT.glob("cdmd/**/*.py"), *ROOT.glob("cdmd/**/*.html"), *ROOT.glob("plugins/*/cdmd_*/**/*.py")]
    assert [file.name for file in texts if re.search(r"[a-z]\(s\)(?!\()", file.read_text())] == []
