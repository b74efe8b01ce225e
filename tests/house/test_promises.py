from pathlib import Path

from tests.house.promises import missing, promises
from tests.house.reading import ROOT

PROMISES = promises((ROOT / "README.md").read_text())


def test_every_promise_names_tests_that_are_there() -> None:
    assert [promise.number for promise in PROMISES if not promise.tests] == []
    assert {promise.number: gone for promise in PROMISES if (gone := missing(promise.tests, ROOT))} == {}


def test_a_promise_stands_once() -> None:
    numbers = [promise.number for promise in PROMISES]
    assert sorted(set(numbers)) == sorted(numbers)


def test_a_named_test_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_a(): ...\nclass TestB:\n    async def test_c(self): ...\ndef helper(): ...\n")
    readme = (
        "| | promise | tests |\n|---|---|---|\n| P1 | Kept. | `test_x.py::test_a[1]`, `test_x.py::TestB::test_c` |\n"
        "| P2 | Broken, `quietly`. | `test_x.py::test_b`, `test_y.py::test_a`, `test_x.py::helper`, `test_x.py` |\n"
        "| P3 | x | |\n"
    )
    kept, broken, bare = promises(readme)
    assert (kept.number, kept.sentence, missing(kept.tests, tmp_path)) == ("P1", "Kept.", [])
    assert missing(broken.tests, tmp_path) == broken.tests
    assert len(broken.tests) == 4
    assert bare.tests == []
