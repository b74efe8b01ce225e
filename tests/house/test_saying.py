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

MODULES = modules()
IDS = [module.path for module in MODULES]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SECRET = re.compile(r"(^|_)(token|signature|secret|password|passphrase|hmac|mac)$")


def log_calls(module: Module) -> Iterator[ast.Call]:
    """Calls of a logger: ``log.info(...)``, ``self._log.error(...)``, ``structlog.get_logger().warning(...)``."""
    for call in calls(module.tree):
        assert isinstance(call.func, ast.Attribute)
        about = ast.unparse(call.func.value)
        if call.func.attr in LEVELS and re.search(r"(^|[._])log$|logger", about):
            yield call


def test_log_calls_are_found() -> None:
    assert sum(len(list(log_calls(module))) for module in MODULES) >= 10


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_a_log_line_has_a_fixed_name_and_keys_from_the_list(module: Module) -> None:
    for call in log_calls(module):
        where = f"{module.path}:{call.lineno}"
        assert len(call.args) == 1, where
        name = call.args[0]
        assert isinstance(name, ast.Constant), where
        assert isinstance(name.value, str), where
        assert SNAKE.fullmatch(name.value), where
        assert {keyword.arg for keyword in call.keywords} <= SAFE_KEYS, where


def _secret(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return SECRET.search(name) is not None


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_secrets_are_compared_in_constant_time(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            sides = [node.left, *node.comparators]
            told_apart = any(isinstance(side, ast.Constant) for side in sides)
            assert told_apart or not any(map(_secret, sides)), f"{module.path}:{node.lineno}: use hmac.compare_digest"


def test_signatures_and_tokens_go_through_compare_digest() -> None:
    signing = next(module for module in MODULES if module.path == "cdmd/kit/signing.py")
    assert any(ast.unparse(call.func) == "hmac.compare_digest" for call in calls(signing.tree))


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
