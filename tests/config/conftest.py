"""Settings structs of the kind that connector types bring, and a short way to load a configuration from text."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from cdmd.config.library import Library
from cdmd.config.loading import load
from cdmd.config.schema import Config
from cdmd.errors import ConfigInvalid
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.secret import Secret


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[connectors.NAME.verify]``."""

    header: Annotated[str, Meta(description="The header that holds it.")]
    algorithm: Literal["sha1", "sha256"] = "sha256"
    tolerance: Duration = Duration.parse("5m")


class BearerAuth(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bearer"):
    token: Secret


class BasicAuth(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="basic"):
    """Name and password."""

    username: str
    password: Secret


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    verify: Annotated[
        Literal["bearer", "github", "standard-webhooks", "none"] | Signature, Meta(description="How | it is verified.")
    ]
    secrets: Annotated[tuple[Secret, ...], Meta(description="Several are live at once.", max_length=2)] = ()
    path: str | None = None
    quota: Rate | None = None


class FilesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    auth: BearerAuth | BasicAuth
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    files: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["*"])
    params: dict[str, int] = {}
    block: Size = Size.parse("1KiB")
    ratio: float | bool = 0.5
    extra: Any = None

    def __post_init__(self) -> None:
        if self.port == 23:
            raise ValueError("telnet is not a way to fetch files")


TYPES = {"webhook": WebhookSettings, "files": FilesSettings}


def zeros(count: int) -> bytes:
    return bytes(count)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "STATE_DIRECTORY": str(tmp_path / "state"),
        "TOKEN": "geheim-4711",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }


Loader = Callable[..., Config]


@pytest.fixture
def loading(tmp_path: Path, environment: dict[str, str]) -> Loader:
    """``loading(text, **conf_d)`` loads ``cdmd.toml`` with that text and conf.d files by name."""

    def run(
        text: str | None,
        *,
        checks: Mapping[str, Any] | None = None,
        make_token: bool = False,
        library: Library | None = None,
        absent: str | None = None,
        targets: Mapping[str, Any] | None = None,
        **parts: str,
    ) -> Config:
        file = tmp_path / "cdmd.toml"
        if text is not None:
            file.write_text(text)
        for name, part in parts.items():
            (tmp_path / "conf.d").mkdir(exist_ok=True)
            (tmp_path / "conf.d" / f"{name}.toml").write_text(part)
        return load(
            None,
            types=TYPES,
            targets=targets or {},
            environment=environment,
            randomness=zeros,
            checks=checks,
            absent=absent,
            library=library,
            make_token=make_token,
            default=file,
        )

    return run


@pytest.fixture
def mistakes(loading: Loader, tmp_path: Path) -> Callable[..., list[str]]:
    """The mistakes of a configuration, with file names relative to the main file."""

    def run(text: str | None, **keywords: Any) -> list[str]:
        with pytest.raises(ConfigInvalid) as caught:
            loading(text, **keywords)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return run
