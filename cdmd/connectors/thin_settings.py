"""The table ``[connectors.NAME.fetch]`` of a webhook that only notifies: its keys, and what they cannot be."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cdmd.kit.credentials import Auth, NoAuth, mistakes
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are mistakes."""


class VersionAt(_Table, frozen=True, kw_only=True):
    """Where both sides tell how new a state is: numbers or times that grow."""

    notice: Annotated[str, Meta(description="A template over the notification.")]
    record: Annotated[str, Meta(description="A template over the fetched record.")]


class Removed(_Table, frozen=True, kw_only=True):
    """The event that says that a key is gone (404, 410)."""

    type: Annotated[str | None, Meta(description="Its type; by default the connector's name and `.removed`.")] = None
    identifiers: Annotated[
        dict[str, str], Meta(description="Whose event it is: templates of which `{key}` is all they see.")
    ] = {}


class FetchSettings(_Table, frozen=True, kw_only=True):
    """How what a notification names is fetched."""

    url: Annotated[
        str,
        Meta(description="A template over the notification; scheme, host and port are written out, values are plain names."),
    ]
    key: Annotated[str, Meta(description="A template over the notification: notifications about one key are one fetch.")]
    auth: Annotated[Auth, Meta(description="How the request says who sends it.")] = NoAuth()
    settle: Annotated[Duration, Meta(description="How long a key waits for more notifications.")] = Duration.parse("2s")
    limits: Annotated[
        Rate | tuple[Rate, ...], Meta(description="What the source allows: one rate or several that hold together.")
    ] = Rate.parse("10/1s")
    method: Annotated[Literal["GET", "POST"], Meta(description="The request's method.")] = "GET"
    headers: Annotated[dict[str, str], Meta(description="More headers of the request.")] = {}
    record: Annotated[
        str | None, Meta(description="A template that finds the record in the answer; a list becomes an event each.")
    ] = None
    version: Annotated[
        VersionAt | None, Meta(description="Answers that are older than their notification are asked for again, three times.")
    ] = None
    removed: Annotated[Removed, Meta(description="The event for a key that is gone.")] = Removed()
    tries: Annotated[int, Meta(description="Failed tries after which a key becomes a dead letter.", ge=1, le=100)] = 10
    timeout: Annotated[Duration, Meta(description="A whole answer must have come by then.")] = Duration.parse("30s")
    max_body: Annotated[Size, Meta(description="The largest answer that is taken.")] = Size.parse("1MiB")

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The limits, one or several."""
        return (self.limits,) if isinstance(self.limits, Rate) else self.limits

    def mistakes(self) -> list[str]:
        """What the values cannot be, each as ``fetch.key: what is wrong``."""
        found = [f"fetch.auth.{mistake}" for mistake in mistakes(self.auth)]
        try:
            UrlTemplate.parse(self.url)
        except ValueError as fault:
            found.append(f"fetch.url: {fault}")
        templates = {"key": self.key, "record": self.record}
        if self.version is not None:
            templates |= {"version.notice": self.version.notice, "version.record": self.version.record}
        templates |= {f"removed.identifiers.{kind}": text for kind, text in self.removed.identifiers.items()}
        for name, text in templates.items():
            try:
                Template.parse(text or "")
            except ValueError as fault:
                found.append(f"fetch.{name}: {fault}")
        if Template.parse("" if any(one.startswith("fetch.key") for one in found) else self.key).constant:
            found.append("fetch.key: must name something of the notification, for example {id}")
        return found
