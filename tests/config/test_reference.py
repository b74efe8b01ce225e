import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from cdmd.config.loading import load
from cdmd.config.reference import reference
from cdmd.connectors.formats import FORMATS
from cdmd.connectors.registered import cdmd_connectors

ROOT = Path(__file__).resolve().parents[2]


def types() -> dict[str, Any]:
    """The structs of ``tests/config/conftest.py``, which pytest does not let a test import."""
    spec = importlib.util.spec_from_file_location("config_structs", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.TYPES
    return found


def test_the_reference_in_etc_is_what_the_code_says() -> None:
    command = [sys.executable, "-m", "cogapp", "--check", "-I", str(ROOT), str(ROOT / "etc/README.md")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_key_has_a_row_with_type_default_and_meaning() -> None:
    text = reference(types())
    assert '| `max_body` | size | `"1MiB"` | The largest request body, before and after decompression. |' in text
    assert '| `listen` | list of text | `["127.0.0.1:8787"]` |' in text
    assert '### `[connectors.NAME] with type = "files"`' in text
    assert (
        '| `verify` | `"bearer"`, `"github"`, `"standard-webhooks"`, `"none"` or table | required | How \\| it is verified. |'
        in text
    )
    assert "| `header` | text | required | The header that holds it. |" in text
    assert '### `[connectors.NAME.verify] with type = "webhook"`' in text
    assert '### `[connectors.NAME.auth] with type = "basic"`' in text
    assert '| `type` | `"basic"` | required | Name and password. |' in text
    assert "| `params` | table of integer |  |  |" in text
    assert "| `extra` | any |  |  |" in text


def test_the_examples_load_without_a_mistake_or_a_warning(tmp_path: Path) -> None:
    for name in ("github", "mobile", "crm", "crm_refresh", "orders", "events"):
        (tmp_path / name).write_text("g\n")
    environment = {
        "STATE_DIRECTORY": str(tmp_path),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "SHOP_SECRET": "a",
        "SHOP_SECRET_OLD": "b",
        "SUPPLIER_KEY": "c",
    }
    types = {one.type: one.Settings for one in cdmd_connectors()}
    formats = {form.name: form for form in FORMATS}
    config = load(ROOT / "etc/cdmd.toml", types=types, formats=formats, environment=environment, randomness=bytes)
    assert sorted(config.connectors) == ["crm", "events", "github", "mobile", "orders", "shop", "supplier"]
    assert config.warnings == ()
