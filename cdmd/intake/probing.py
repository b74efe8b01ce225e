"""Whether the daemon lives and can take events: the two paths that every public listener answers itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from cdmd.intake.admission import CLOSE, has_body
from cdmd.kit.exchanges import Exchange
from cdmd.models import Answer

Ready: TypeAlias = Callable[[], tuple[bool, Sequence[str]]]
"""Whether the daemon can take events now, and one line for each thing that is not well."""

PROBES: Final[Mapping[bytes, str]] = {b"/livez": "live", b"/readyz": "ready"}
"""The paths, and what is asked there."""

_METHODS: Final = ("GET", "HEAD")


def unrouted(exchange: Exchange, ready: Ready) -> Answer:
    """The answer to a probe, else one shape of 404 for every path there is not."""
    probe = PROBES.get(exchange.path)
    if probe is None:
        return Answer(status=404, headers=[CLOSE] if has_body(exchange.headers) else [])
    if exchange.method not in _METHODS:
        return Answer(status=405, headers=[("allow", ", ".join(_METHODS)), CLOSE])
    well, lines = (True, ["ok"]) if probe == "live" else ready()
    return Answer(
        status=200 if well else 503,
        body="".join(f"{line}\n" for line in lines).encode(),
        headers=[("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")],
    )
