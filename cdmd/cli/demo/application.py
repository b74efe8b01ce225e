"""The demo's application: the shop's app on Joe's telephone, reporting with an official library of the tracking API.

Where ``segment-analytics-python`` is not installed (``pip install 'cdmd[demo]'``) a client of ours sends the same request.
"""

import base64
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from typing_extensions import override

from cdmd.cli.demo.part import EMAIL, Expected, Part, Stage, secret_file
from cdmd.cli.demo.telling import took
from cdmd.errors import CdmdError

USER: Final = "joe-4711"
PACKAGE: Final = "segment-analytics-python"
_CALLS: Final[tuple[Mapping[str, Any], ...]] = (
    {"type": "identify", "traits": {"email": EMAIL, "app_version": "7.2"}},
    {"type": "screen", "name": "My televisions", "properties": {"televisions": 1}},
    {"type": "track", "event": "manual.opened", "properties": {"page": 12}},
    {"type": "track", "event": "support.called", "properties": {"waited_seconds": 40}},
)
CALLS: Final = len(_CALLS)
_SECONDS: Final = 10.0

_CONFIG: Final = """
[connectors.app]
type = "application"
write_keys = ["file:app.key"]
"""


class Application(Part):
    """Four calls of the tracking API."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(16)

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "app.key", self._key)
        yield _CONFIG

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene("The shop's app on Joe's telephone reports by itself (Segment tracking API, write key)")
        reported = report(stage.url, self._key)
        ours = f"a client of ours, because {PACKAGE} is not installed (pip install 'cdmd[demo]')"
        official = f"{reported.library}, unchanged; its host is the daemon's address"
        stage.telling.fact("sent with", ours if reported.library is None else official)
        taken = f"{CALLS} calls taken after {took(reported.seconds)}: identify, screen and two that have their own names"
        stage.telling.fact("answered", taken)
        stage.settle()
        stage.telling.known("known now", stage.customer())

    @property
    @override
    def expected(self) -> Expected:
        return Expected(CALLS, frozenset({("user_id", USER), ("email", EMAIL)}))


class Reported(NamedTuple):
    """With which library (None: a client of ours), and after how many seconds all of it was answered."""

    library: str | None
    seconds: float


def report(url: str, key: str) -> Reported:
    """Send the calls to cdmd at ``url`` with that write key. Raises CdmdError unless all of them were taken."""
    library = f"{PACKAGE} {version(PACKAGE)}" if find_spec("segment") and find_spec("segment.analytics") else None
    begun = monotonic()
    (_without_library if library is None else _with_library)(url, key)
    return Reported(library, monotonic() - begun)


def _with_library(url: str, key: str) -> None:
    """As an app would: the library gathers the calls and sends them by itself."""
    analytics: Any = import_module("segment.analytics")  # it has no types, and need not be there
    faults: list[str] = []

    def failed(error: Exception, _calls: object) -> None:
        faults.append(f"{type(error).__name__}: {error}")

    direct = {"http": None}  # the environment may name a proxy, which is not for loopback
    client = analytics.Client(
        key, host=url, proxies=direct, timeout=_SECONDS, max_retries=2, on_error=failed, upload_interval=0.05
    )
    for call in _CALLS:
        match call["type"]:
            case "identify":
                client.identify(USER, call["traits"])
            case "screen":
                client.screen(USER, None, call["name"], call["properties"])
            case _:
                client.track(USER, call["event"], call["properties"])
    client.flush()
    client.join()
    if faults:
        raise CdmdError(f"the library could not deliver: {faults[0]}")


def _without_library(url: str, key: str) -> None:
    """The request that the library would send."""
    now = datetime.now(UTC).isoformat()
    batch = [{"userId": USER, "messageId": f"app-{place}", "timestamp": now, **call} for place, call in enumerate(_CALLS)]
    body = json.dumps({"batch": batch, "sentAt": now}).encode()
    credentials = base64.b64encode(f"{key}:".encode()).decode()
    headers = {"authorization": f"Basic {credentials}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/batch", body, headers)  # noqa: S310 - our own daemon
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise CdmdError(f"/v1/batch answered {error.code} {error.read()[:500].decode(errors='replace')}") from None
    except OSError as error:
        raise CdmdError(f"/v1/batch cannot be reached: {error}") from error
