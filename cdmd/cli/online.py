"""``cdmd check --online``: whether the hosts that the configuration names can be reached by name. Connects to none of them."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

from cdmd.config.schema import Config
from cdmd.kit.addresses import hosts_in, parse, parse_networks, refusal

Resolve = Callable[[str, int | None], list[str]]


def system_resolve(host: str, port: int | None) -> list[str]:
    """The machine's own resolver; blocks. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def unreachable(config: Config, *, resolve: Resolve = system_resolve) -> list[str]:
    """One line for each host that has no address, or only such that cdmd does not connect to."""
    allowed = parse_networks(config.network.allow_addresses)
    problems = []
    for file, key, settings in _named(config):
        for host, port in sorted(hosts_in(settings), key=str):
            try:
                addresses = [address for text in resolve(host, port) if (address := parse(text)) is not None]
            except OSError as error:
                problems.append(f"{file}: {key}: the host {host} is not found: {error.strerror or error}")
                continue
            refused = [why for address in addresses if (why := refusal(address, host=host, allowed=allowed)) is not None]
            if refused and len(refused) == len(addresses):
                problems.append(f"{file}: {key}: {host}: {refused[0]}")
    return problems


def _named(config: Config) -> Iterator[tuple[str, str, Any]]:
    """Every table that may name hosts: where it stands, its key and its settings."""
    for name, one in config.connectors.items():
        yield one.file, f"connectors.{name}", one.settings
    for name, target in config.targets.items():
        yield target.file, f"targets.{name}", target.settings
    for name, table in config.plugins.items():
        yield config.files[0] if config.files else "defaults", f"plugins.{name}", table
