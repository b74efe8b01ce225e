"""Which connector answers which path: the table of the public listeners, made anew whenever the connectors change.

A path that a secret segment follows stands in a tuple of its own, so that no request can spell it. Not here: the checks and the
answers (``cdmd.intake.edge``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Protocol, TypeAlias, TypeVar, runtime_checkable
from urllib.parse import quote, unquote

from cdmd.contracts import DecidingConnector, PushConnector, SharingConnector, Source
from cdmd.errors import ConfigInvalid, Overloaded
from cdmd.models import Answer, Emission, Request, Route, Verdict

_PATH_SAFE: Final = "/:@!$&'()*+,;=~%-._"


class Emitting(Protocol):
    """What wants something on the disk, and is told how that ended."""

    @property
    def wanted(self) -> Emission:
        """What that is."""
        ...

    def settle(self, verdicts: list[Verdict] | None, error: Overloaded | None) -> None:
        """The verdicts, or why it is not durable; must not raise."""
        ...


E = TypeVar("E", bound=Emitting)


@runtime_checkable
class Taking(Protocol):
    """A source that takes records without a task."""

    def take(self, several: Sequence[E]) -> Sequence[E]:
        """See ``cdmd.intake.source.IntakeSource.take``."""
        ...


@dataclass(slots=True)
class Mounted:
    """A route with the connector behind it. ``active`` counts the requests it is answering; all routes of one share it.

    ``path`` is how a request's path reads once it is known to be this one.

    ``sharing`` are all that answer a shared path, the first one (which stands for them in the table) included; ``most`` is
    the largest body that one of them takes. ``decide`` and ``taking`` are None where connector and source have them not.
    """

    connector: PushConnector
    source: Source
    route: Route
    max_body: int
    active: list[int]
    decide: Callable[[Request, Source], Answer | Emission | None] | None
    taking: Taking | None
    most: int
    path: str
    sharing: "list[Mounted]" = field(default_factory=list)


Routes: TypeAlias = Mapping[bytes | tuple[bytes], Mounted]


def mount(connectors: Iterable[tuple[PushConnector, Source]], *, max_body: int, reserved: Collection[bytes]) -> Routes:
    """The table, by path as it stands in a request. Raises ConfigInvalid where two claim one path, or one a reserved path."""
    routes: dict[bytes | tuple[bytes], Mounted] = {}
    problems: list[str] = []
    for connector, source in connectors:
        active = [0]
        for route in connector.routes:
            path = quote(route.path, safe=_PATH_SAFE).encode()
            key = (path,) if route.secrets else path
            mounted = _mounted(connector, source, route, active, max_body, path)
            taken = routes.get(key)
            if taken is not None and _shared(taken) and _shared(mounted):
                _join(taken, mounted)
            elif taken is not None or path in reserved:
                owner = "the daemon" if taken is None else f"connectors.{taken.source.name}"
                problems.append(f"connectors.{source.name}.path: {route.path} is already answered by {owner}")
            else:
                routes[key] = mounted
    if problems:
        raise ConfigInvalid(problems)
    return routes


def behind_secret(routes: Routes, path: bytes) -> Mounted | None:
    """Whose path it is, with one of its secrets behind it; None, as for a path that there is not, where that is wrong."""
    before, _, segment = path.rpartition(b"/")
    mounted = routes.get((before,))
    if mounted is None:
        return None
    digest = sha256(segment).digest()
    right = [compare_digest(digest, sha256(secret.reveal()).digest()) for secret in mounted.route.secrets]
    if any(right):
        return mounted
    mounted.source.refuse(1, "path_secret")
    return None


def _mounted(connector: PushConnector, source: Source, route: Route, active: list[int], max_body: int, path: bytes) -> Mounted:
    most = route.max_body or max_body
    return Mounted(
        connector,
        source,
        route,
        most,
        active,
        decide=connector.decide if isinstance(connector, DecidingConnector) else None,
        taking=source if isinstance(source, Taking) else None,
        most=most,
        path=route.path if route.secrets else unquote(path.decode()),
    )


def _shared(mounted: Mounted) -> bool:
    return mounted.route.shared and isinstance(mounted.connector, SharingConnector)


def _join(first: Mounted, another: Mounted) -> None:
    first.sharing = [*(first.sharing or [first]), another]
    first.most = max(first.most, another.max_body)
