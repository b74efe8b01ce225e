"""The keys of a connector of type ``singer``."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import cdmd


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[connectors.NAME.streams.STREAM]``: a stream of the tap that is wanted."""

    event: Annotated[
        cdmd.EventSettings | None, Meta(description="How a record becomes an event; by default the connector's.")
    ] = None
    freshness: Annotated[cdmd.Duration | None, Meta(description="The stream's objective.")] = None


class SingerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[connectors.NAME]`` with ``type = "singer"``."""

    command: Annotated[tuple[str, ...], Meta(description="The tap and arguments of its own; a whole path.", min_length=1)]
    streams: Annotated[dict[str, StreamSettings], Meta(description="What is wanted, by the tap's names of its streams.")]
    config: Annotated[dict[str, Any], Meta(description="The tap's configuration, but for what is secret.")] = {}
    secrets: Annotated[
        dict[str, cdmd.Secret], Meta(description="Joins `config`; a name with dots is a key within tables of it.")
    ] = {}
    environment: Annotated[dict[str, str], Meta(description="Variables for the tap, which gets none of the daemon's.")] = {}
    discover: Annotated[bool, Meta(description="false: the tap has no catalog, and everything it sends is looked at.")] = True
    catalog_option: Annotated[
        Literal["--catalog", "--properties"], Meta(description="Older taps take the catalog as --properties.")
    ] = "--catalog"
    every: Annotated[cdmd.Duration, Meta(description="From the end of one run to the next.")] = cdmd.Duration.parse("1h")
    timeout: Annotated[cdmd.Duration, Meta(description="A tap without a whole line for so long is ended.")] = (
        cdmd.Duration.parse("10m")
    )
    max_run: Annotated[cdmd.Duration, Meta(description="A run that takes longer is ended.")] = cdmd.Duration.parse("1d")
    max_line: Annotated[cdmd.Size, Meta(description="A longer line is set aside.")] = cdmd.Size.parse("4MiB")
    memory: Annotated[cdmd.Size, Meta(description="Address space that the tap may take.")] = cdmd.Size.parse("2GiB")


def problems(settings: SingerSettings) -> list[str]:
    """Every mistake that the struct cannot express, as ``key: what is wrong``."""
    found = []
    if not settings.command[0].startswith("/"):
        found.append('command: its first word is not a whole path; write it like "/opt/taps/tap-crm/bin/tap-crm"')
    if not settings.streams:
        found.append("streams: is empty; name at least one: [connectors.NAME.streams.STREAM]")
    durations = {"every": settings.every, "timeout": settings.timeout, "max_run": settings.max_run}
    found += [f"{key}: must be more than nothing" for key, value in durations.items() if value.seconds <= 0]
    for name, secret in settings.secrets.items():
        if not secret.reveal().isascii():
            found.append(f"secrets.{name}: is not printable text")
        if _placed(settings.config, name.split("."), "") is None:
            found.append(f"secrets.{name}: config has something else at that place")
    return found


def config_of(settings: SingerSettings) -> dict[str, Any]:
    """What the tap reads: ``config`` with the secrets in it. Never shown."""
    whole = settings.config
    for name, secret in settings.secrets.items():
        whole = _placed(whole, name.split("."), secret.reveal().decode()) or whole
    return whole


def _placed(table: dict[str, Any], path: list[str], value: str) -> dict[str, Any] | None:
    """A copy with ``value`` at ``path``; None where something else is there or on the way."""
    first, *rest = path
    if not rest:
        return None if first in table else {**table, first: value}
    inner = table.get(first, {})
    placed = _placed(inner, rest, value) if isinstance(inner, dict) else None
    return None if placed is None else {**table, first: placed}
