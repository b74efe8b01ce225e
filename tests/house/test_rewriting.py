import importlib.util
import sys
from pathlib import Path

import pytest

from tests.rewriting import rewrite_share


def test_what_one_process_rewrote_no_other_one_does(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where each keeps what it rewrote under a name that pytest does not look for."""
    monkeypatch.setattr("sys.pycache_prefix", None)
    files = [tmp_path / f"test_{name}.py" for name in "abc"]
    for file in files:
        file.write_text(f'def test_it():\n    """{file.stem}"""\n    assert 1 == 2\n')
    for number in range(2):
        rewrite_share(files, pytestconfig, number=number, processes=2)
    monkeypatch.setattr("_pytest.assertion.rewrite._rewrite_test", lambda *_: pytest.fail("it was rewritten before"))
    hook = next(one for one in sys.meta_path if type(one).__name__ == "AssertionRewritingHook")
    for file in files:
        spec = importlib.util.spec_from_file_location(file.stem, file, loader=hook)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        hook.exec_module(module)
        assert module.test_it.__doc__ == file.stem
        with pytest.raises(AssertionError, match="1 == 2"):
            module.test_it()
