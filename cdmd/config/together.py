"""What the tables of several connectors mean together: names, secrets, limits and streams that they share. Pure.

As in ``meaning``, each function that looks for mistakes yields ``(key path, what is wrong)``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from cdmd.config.checking import nearest
from cdmd.config.meaning import Found, listen_problem
from cdmd.config.reading import Key
from cdmd.config.schema import ConnectorConfig, ConnectorFrame, IdentitySettings
from cdmd.config.telemetry import MetricsSettings
from cdmd.kit.addresses import hosts_in
from cdmd.kit.grants import Demand, impossible


def keys_in_common(connectors: Mapping[str, ConnectorConfig]) -> Found:
    """Secrets by which connectors that share their paths are told apart (``told_apart_by``), listed more than once."""
    first: dict[tuple[str, bytes], Key] = {}
    for name, one in connectors.items():
        setting = _of_ours(one.settings, "told_apart_by")
        for place, secret in enumerate(getattr(one.settings, setting) if setting else ()):
            key = ("connectors", name, setting, str(place))
            same = first.setdefault((one.frame.type, secret.reveal()), key)
            if same != key and secret.reveal():
                told = "one of them is enough" if same[1] == name else f"all that comes with it would be {same[1]}'s"
                yield key, f"is the same secret as {'.'.join(same)}: {told}"


def objectives(connectors: Mapping[str, ConnectorConfig]) -> Found:
    """What all that ask one host with one credential are wanted to do (``demand``), beyond what the host allows them."""
    together: dict[tuple[str, str], dict[str, Demand]] = {}
    for name, one in connectors.items():
        if (asked := _of_ours(one.settings, "demand")) is not None:
            demand: Demand = asked(None if one.frame.freshness is None else one.frame.freshness.seconds)
            together.setdefault((demand.host, demand.credential), {})[name] = demand
    for sharing in together.values():
        several = len(sharing) > 1
        wanted = {
            f"{name}.{stream}" if several else stream: seconds
            for name, demand in sharing.items()
            for stream, seconds in demand.wanted.items()
        }
        why = impossible(wanted, [limit for demand in sharing.values() for limit in demand.limits])
        if why is not None:
            yield ("connectors", next(iter(sharing)), "limits"), why


def reconciling(connectors: Mapping[str, ConnectorConfig]) -> Found:
    """Streams that are to find what was not told, and are not there, or are another connector's already."""
    taken: dict[str, str] = {}
    for name, one in connectors.items():
        stream = one.frame.reconcile
        if stream is None:
            continue
        key = ("connectors", name, "reconcile")
        known = [f"{of}.{each}" for of, found in connectors.items() if of != name for each in _streams(found)]
        if stream not in known:
            yield key, f"there is no stream {stream!r} of another connector" + nearest(stream, known)
        elif stream in taken:
            yield key, f"{stream} finds what {taken[stream]} was not told of already"
        taken.setdefault(stream, name)


def _of_ours(settings: object, name: str) -> Any:
    """What settings of ours say of themselves under that name: those of a plugin may have a key, or a method, called so."""
    return getattr(settings, name, None) if type(settings).__module__.partition(".")[0] == "cdmd" else None


def _streams(one: ConnectorConfig) -> list[str]:
    streams = getattr(one.settings, "streams", None)
    return list(streams) if isinstance(streams, Mapping) else []


def earlier_names(frames: Mapping[str, ConnectorFrame]) -> Found:
    """Earlier names that another connector has, now or earlier."""
    taken = {name: name for name in frames}
    for name, one in frames.items():
        for was in one.was:
            if was in taken:
                yield ("connectors", name, "was"), f"{was} is already a name of the connector {taken[was]}"
            taken.setdefault(was, name)


def guards(connectors: Mapping[str, ConnectorConfig], identity: IdentitySettings) -> Found:
    """Connectors that keep only known people, and name nobody by a kind that joins people: all they bring is turned away."""
    for name, one in connectors.items():
        named = one.frame.event.identifiers if one.frame.event is not None else None
        if one.frame.known_only and named and not named.keys() & identity.identifiers.keys():
            kinds = ", ".join(sorted(named))
            yield (
                ("connectors", name, "known_only"),
                f"nobody can be known: [identity.identifiers] lists none of the kinds that it brings ({kinds})",
            )


def scraping(settings: MetricsSettings, public: Sequence[str]) -> Found:
    """An address of its own for the metrics."""
    address = settings.listen
    if address is None:
        return
    problem = f"{address!r} is not an address: write HOST:PORT" if address.startswith("fd:") else listen_problem(address)
    if problem is None and address in public:
        problem = f"{address!r} is where senders call (http.listen): metrics need an address of their own"
    if problem:
        yield ("metrics", "listen"), problem


def grouped(
    connectors: Iterable[ConnectorConfig], *, hosts: Callable[[object], Collection[object]] = hosts_in
) -> list[list[str]]:
    """Names of connectors that ask the same host, each group and all of them sorted."""
    groups: list[tuple[set[object], list[str]]] = []
    for one in connectors:
        asked, names = set(hosts(one.settings)), [one.name]
        for group in [each for each in groups if each[0] & asked]:
            groups.remove(group)
            asked |= group[0]
            names = [*group[1], *names]
        groups.append((asked, sorted(names)))
    return sorted(names for _, names in groups)
