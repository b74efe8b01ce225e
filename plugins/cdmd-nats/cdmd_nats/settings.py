"""The keys of connectors and targets of type ``nats``."""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

import cdmd

_TOKEN: Final = re.compile(r"[A-Za-z0-9_$-]+")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server of ``servers``."""

    host: Annotated[str, Meta(description="Its name or address.")]
    port: Annotated[int, Meta(description="Its port.", ge=1, le=65535)] = 4222


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where NATS is, and who we are there."""

    servers: Annotated[
        tuple[Server, ...], Meta(description="Servers of one cluster; the first that answers is taken.", min_length=1)
    ]
    tls: Annotated[bool, Meta(description="Whether the connection is encrypted.")] = False
    authorities: Annotated[
        cdmd.Secret | None,
        Meta(description="Authorities (PEM) that the servers' certificates may be from, instead of the system's."),
    ] = None
    username: Annotated[str | None, Meta(description="Whom to log in as.")] = None
    password: Annotated[cdmd.Secret | None, Meta(description="The password.")] = None
    token: Annotated[cdmd.Secret | None, Meta(description="A token instead.")] = None
    nkey: Annotated[cdmd.Secret | None, Meta(description="The seed of an NKey instead.")] = None
    timeout: Annotated[cdmd.Duration, Meta(description="A server must have answered by then.")] = cdmd.Duration.parse("5s")


class NatsSettings(Access, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[connectors.NAME]`` with ``type = "nats"``."""

    subjects: Annotated[tuple[str, ...], Meta(description="What to subscribe to; `*` and `>` as NATS has them.", min_length=1)]
    stream: Annotated[
        str | None,
        Meta(description="The JetStream stream that holds them. Without one what is published while nobody listens is lost."),
    ] = None
    durable: Annotated[str | None, Meta(description="The consumer's name on the server; by default `cdmd-NAME`.")] = None
    since: Annotated[Literal["all", "new"], Meta(description="Where a new consumer begins.")] = "all"
    batch: Annotated[int, Meta(description="How many messages are taken at once.", ge=1, le=1_000)] = 200


class NatsTargetSettings(Access, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[targets.NAME]`` with ``type = "nats"``."""

    subject: Annotated[str, Meta(description="What to publish to. `{type}` is the delivery's type (`audience.entered`).")] = (
        "cdmd.{type}"
    )
    jetstream: Annotated[
        bool, Meta(description="false: to whoever listens just now; a delivery counts when the server has it.")
    ] = True
    batch: Annotated[int, Meta(description="How many deliveries are published at once.", ge=1, le=1_000)] = 100


def access_problems(access: Access) -> list[str]:
    """Mistakes in who we are."""
    ways = [name for name in ("username", "token", "nkey") if getattr(access, name) is not None]
    found = [f"{ways[1]}: one way to log in is enough, {ways[0]} is another"] if len(ways) > 1 else []
    if (access.username is None) != (access.password is None):
        found.append("username: username and password go together")
    return found


def problems(settings: NatsSettings) -> list[str]:
    """Every mistake that the struct cannot express, as ``key: what is wrong``."""
    found = access_problems(settings)
    found += [f"subjects: {one!r} is no subject" for one in settings.subjects if not is_subject(one, pattern=True)]
    for key in ("stream", "durable"):
        given = getattr(settings, key)
        if given is not None and _NAME.fullmatch(given) is None:
            found.append(f"{key}: letters, digits, _ and - only, at most 64")
    if settings.stream is None and (settings.durable is not None or settings.since == "new"):
        found.append("stream: is missing; durable and since are those of a consumer of a stream")
    if settings.stream is not None and len(settings.subjects) > 1:
        found.append("subjects: of a stream one (`orders.*`, or `>` for all of it)")
    return found


def target_problems(settings: NatsTargetSettings) -> list[str]:
    """The same for a target."""
    found = access_problems(settings)
    if not is_subject(settings.subject.replace("{type}", "x")):
        found.append(f"subject: {settings.subject!r} is no subject")
    return found


def is_subject(text: str, *, pattern: bool = False) -> bool:
    """Whether NATS takes it as a subject, or as a pattern of some."""
    tokens = text.split(".")
    if pattern and tokens[-1] == ">":
        tokens = tokens[:-1] or ["x"]
    return all(_TOKEN.fullmatch(token) or (pattern and token == "*") for token in tokens)  # noqa: S105 - not that kind of token


def is_one_subject(text: str) -> bool:
    """Whether it names one subject, whatever its letters: what an event's type makes is not ours to choose."""
    tokens = text.split(".")
    return text.isprintable() and " " not in text and all(token not in {"", "*", ">"} for token in tokens)
