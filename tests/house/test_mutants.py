"""What a mutant of the tests puts something else in place of is there: one that changes nothing shows nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = [one for one in sorted(ROOT.glob("tests/*/mutants/*.py")) if one.name != "__init__.py"]


@pytest.mark.parametrize("path", MUTANTS, ids=lambda path: path.stem)
def test_it_is_there(path: Path) -> None:
    """Seen to fail with the journal's plan in another module than the one it is changed in."""
    tree = ast.parse(path.read_text())
    named: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), str(path), "exec"), named)
    set_to = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    changed = [target for target in set_to if isinstance(target, ast.Attribute)]
    for target in changed:
        assert eval(ast.unparse(target), named) is not None
