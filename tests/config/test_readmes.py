"""The configurations that README.md and etc/README.md show: each is taken as it stands, with the secrets that it names."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cdmd
from cdmd.cli.loading import load_all

ROOT = Path(cdmd.__file__).parents[1]
READMES = ("README.md", "etc/README.md")


def shown(readme: str) -> Iterator[str]:
    """Every block in TOML that configures connectors or targets."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", (ROOT / readme).read_text(), re.MULTILINE | re.DOTALL)
    return (block for block in blocks if "[connectors." in block or "[targets." in block)


BLOCKS = [(f"{readme} {place}", block) for readme in READMES for place, block in enumerate(shown(readme))]


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_what_the_documents_show_is_a_configuration(
    name: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, secret in enumerate(re.findall(r"\benv:(\w+)", block)):
        monkeypatch.setenv(secret, f"a-long-secret-of-its-own-{place}" if "SHOP" not in secret else "whsec_" + "a" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for place, secret in enumerate(re.findall(r"\bcredential:(\w+)", block)):
        signing = "[targets." in block and "token" not in secret
        (tmp_path / secret).write_text("whsec_" + "a" * 32 if signing else f"a-long-secret-of-its-own-{place}")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    for audience in set(re.findall(r'^audience = "(\w+)"', block, re.MULTILINE)):
        block += f'[audiences.{audience}]\nwhere = "true"\n' if f"[audiences.{audience}]" not in block else ""
    file = tmp_path / "cdmd.toml"
    file.write_text(block.replace("# subject_header", "subject_header").replace("# verify_header", "verify_header"))
    config = load_all(file).config
    assert {f"[connectors.{one}]" in block for one in config.connectors} <= {True}
    assert {f"[targets.{one}]" in block for one in config.targets} <= {True}
    assert config.connectors or config.targets


def test_the_readme_shows_every_way_a_source_can_tell() -> None:
    (block,) = [block for name, block in BLOCKS if name.startswith("README.md") and "stripe" in block]
    for word in ("records =", ".fetch]", "cloudevents", 'type = "slack"', 'type = "application"', "use ="):
        assert word in block
