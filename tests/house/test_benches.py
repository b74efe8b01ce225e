"""That the benches can be started: they run by hand, so that nothing else finds out when a name of theirs has moved."""

import subprocess
import sys

from tests.house.reading import ROOT


def test_every_bench_finds_all_that_it_imports() -> None:
    names = sorted(path.stem for path in (ROOT / "tests" / "bench").glob("*.py") if path.stem != "__main__")
    assert "expiry" in names
    importing = "\n".join(f"import tests.bench.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", importing], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
