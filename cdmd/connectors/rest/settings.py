"""The keys of a connector of type ``rest``: the words in which an API is declared. What they mean together: ``checking``."""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.contracts import ChosenFormat, EventSettings
from cdmd.kit.credentials import Auth, NoAuth, identity
from cdmd.kit.grants import Demand
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.quiet import QuietHours
from cdmd.kit.urls import origin_of

USUAL_LIMIT: Final = 100
_Statuses: TypeAlias = tuple[int | str, ...]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are mistakes."""


class _Page(_Table, frozen=True, kw_only=True, tag_field="type"):
    """A way from one page to the next."""

    max_pages: Annotated[
        int,
        Meta(description='So many pages at once: with `order = "asc"` the next look goes on there, else it is an alarm.', ge=1),
    ] = 10_000


class SinglePage(_Page, frozen=True, kw_only=True, tag="none"):
    """There is one page."""


class LinkPages(_Page, frozen=True, kw_only=True, tag="link"):
    """The header `Link` names the next page (RFC 8288)."""

    rel: Annotated[str, Meta(description="The relation of the next page.")] = "next"


class NextUrlPages(_Page, frozen=True, kw_only=True, tag="next_url"):
    """The answer holds the next page's address."""

    from_: Annotated[str, Meta(description="A template over the answer: the address, whole or relative.")] = msgspec.field(
        name="from"
    )
    more: Annotated[str | None, Meta(description="A template over the answer: whether there are more pages.")] = None
    keep: Annotated[
        str | None,
        Meta(description="A template over the last page: the address that the next look begins with."),
    ] = None


class CursorPages(_Page, frozen=True, kw_only=True, tag="cursor"):
    """The answer holds a cursor that asks for the next page."""

    from_: Annotated[str, Meta(description="A template over the answer: the cursor.")] = msgspec.field(name="from")
    param: Annotated[str | None, Meta(description="Its parameter; without one a template names it: `{cursor}`.")] = None
    more: Annotated[str | None, Meta(description="A template over the answer: whether there are more pages.")] = None
    keep: Annotated[
        str | None,
        Meta(description="A template over the last page: the cursor that the next look begins with."),
    ] = None


class OffsetPages(_Page, frozen=True, kw_only=True, tag="offset"):
    """Pages are asked for by how many records come before them."""

    param: Annotated[str | None, Meta(description="The parameter; without one a template names it: `{offset}`.")] = None
    limit_param: Annotated[str | None, Meta(description="The parameter for how many records are wanted.")] = None
    limit: Annotated[int, Meta(description="How many records are asked for at once.", ge=1)] = USUAL_LIMIT
    start: Annotated[int, Meta(description="The first page's offset.", ge=0)] = 0
    total: Annotated[str | None, Meta(description="A template over the answer: how many records there are.")] = None
    more: Annotated[str | None, Meta(description="A template over the answer: whether there are more pages.")] = None


class NumberedPages(_Page, frozen=True, kw_only=True, tag="page"):
    """Pages are numbered."""

    param: Annotated[str | None, Meta(description="The parameter; without one a template names it: `{page}`.")] = None
    start: Annotated[int, Meta(description="The first page's number.", ge=0)] = 1
    limit_param: Annotated[str | None, Meta(description="The parameter for how many records are wanted.")] = None
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="How many records are asked for at once.")] = None
    pages: Annotated[str | None, Meta(description="A template over the answer: how many pages there are.")] = None
    total: Annotated[str | None, Meta(description="A template over the answer: how many records there are.")] = None
    more: Annotated[str | None, Meta(description="A template over the answer: whether there are more pages.")] = None


Paging: TypeAlias = SinglePage | LinkPages | NextUrlPages | CursorPages | OffsetPages | NumberedPages


class SinceSettings(_Table, frozen=True, kw_only=True):
    """``since``: how only what is new is asked for."""

    field: Annotated[
        str | None, Meta(description="A template over a record: what grows with every change, a time or a number.")
    ] = None
    param: Annotated[str | None, Meta(description="The parameter that asks for it; a template may also name `{since}`.")] = None
    until: Annotated[str | None, Meta(description="The parameter for a window's end; a template may also name `{until}`.")] = (
        None
    )
    format: Annotated[
        str,
        Meta(
            description=(
                "How it is written: `rfc3339`, `unix`, `unix_ms`, `date`, `number`, `text`, or a pattern of strftime in UTC "
                "(`%Y-%m-%d %H:%M:%S`), in which it is read, too."
            )
        ),
    ] = "rfc3339"
    initial: Annotated[str | None, Meta(description="Where the first look begins; without it at the very beginning.")] = None
    lookback: Annotated[
        Duration | None, Meta(description="How far before the position every look begins: for what shows late.")
    ] = None
    order: Annotated[
        Literal["asc", "desc", "none"],
        Meta(description="How records come: only with `asc` the position moves with every page, else at the end of all."),
    ] = "none"
    window: Annotated[Duration | None, Meta(description="Ask for so much time at once, one window after the other.")] = None
    inclusive: Annotated[
        bool, Meta(description="false: the source answers what is after `since` only, so a moment earlier is asked for.")
    ] = True
    etag: Annotated[
        bool,
        Meta(
            description="Ask only for what changed (If-None-Match, If-Modified-Since): 304 is an answer. "
            'With pages only where `order = "desc"`.'
        ),
    ] = False


class ErrorSettings(_Table, frozen=True, kw_only=True):
    """``errors``: what answers mean, where it is not what their status says. Of several the first in this order holds."""

    fatal: Annotated[_Statuses, Meta(description="Statuses that need somebody to act (`401`, `4xx`): nothing is tried.")] = ()
    ignore: Annotated[_Statuses, Meta(description="Statuses that mean that there is nothing.")] = ()
    restart: Annotated[_Statuses, Meta(description="Statuses that mean that the position is lost: all is asked again.")] = ()
    retry: Annotated[_Statuses, Meta(description="Statuses that are tried again.")] = ()
    fatal_if: Annotated[str | None, Meta(description="The same, by a template over the answer's JSON that is true.")] = None
    ignore_if: Annotated[str | None, Meta(description="The same.")] = None
    restart_if: Annotated[str | None, Meta(description="The same.")] = None
    retry_if: Annotated[str | None, Meta(description="The same.")] = None
    tries: Annotated[int, Meta(description="Tries for one page before the look is given up.", ge=1, le=100)] = 5


class ParentSettings(_Table, frozen=True, kw_only=True):
    """``parent``: the stream of whose records each is asked about."""

    stream: Annotated[str, Meta(description="Its name.")]
    fields: Annotated[
        dict[str, str],
        Meta(description="What is kept of its record: templates say `{parent.NAME}`, and `{_parent.NAME}` in `event`."),
    ]


class ExportSettings(_Table, frozen=True, kw_only=True):
    """``export``: the stream's request starts a job at the source, which makes a file with the records."""

    id: Annotated[str, Meta(description="A template over the answer to that request: what names the job, `{job}` in paths.")]
    progress: Annotated[str, Meta(description="A path behind `base_url` (`/exports/{job}`): asked until the job is done.")]
    done: Annotated[str, Meta(description="A template over that answer: whether it is done.")]
    failed: Annotated[str, Meta(description="A template over that answer: whether it never will be.")]
    file: Annotated[str, Meta(description="A path behind `base_url`: the file, or its first page.")]
    file_id: Annotated[
        str | None, Meta(description="A template over the last such answer: what names the file, `{file}` in `export.file`.")
    ] = None
    every: Annotated[Duration, Meta(description="How long to wait before it is asked about, again and again.")] = (
        Duration.parse("5s")
    )
    within: Annotated[Duration, Meta(description="A job that is not done by then is given up, and another one started.")] = (
        Duration.parse("1h")
    )


class StreamSettings(_Table, frozen=True, kw_only=True):
    """``[connectors.NAME.streams.STREAM]``."""

    path: Annotated[str, Meta(description="A template behind `base_url`.")]
    method: Annotated[Literal["GET", "POST"], Meta(description="The request's method.")] = "GET"
    params: Annotated[
        dict[str, str | int | bool | tuple[str, ...]],
        Meta(description="Parameters of the query, templates among them; one whose part is null is left out."),
    ] = {}
    headers: Annotated[dict[str, str], Meta(description="More headers of the request.")] = {}
    body: Annotated[dict[str, Any] | None, Meta(description="A body whose texts are templates; what is null is left out.")] = (
        None
    )
    body_as: Annotated[
        Literal["json", "form"],
        Meta(description="How the body is sent: as JSON or as a form (application/x-www-form-urlencoded)."),
    ] = "json"
    records: Annotated[str, Meta(description="A template that finds the records in the answer.")] = "{@}"
    may_be_missing: Annotated[bool, Meta(description="An answer without that place has no records, and is no mistake.")] = False
    format: Annotated[
        ChosenFormat | None, Meta(description="How an answer is read that is no JSON document: csv, jsonl, xml ...")
    ] = None
    page: Annotated[Paging | None, Meta(description="How the next page is found; by default the connector's.")] = None
    since: Annotated[SinceSettings | None, Meta(description="How only what is new is asked for.")] = None
    event: Annotated[EventSettings | None, Meta(description="How a record becomes an event; by default the connector's.")] = (
        None
    )
    key: Annotated[
        str | None,
        Meta(description="A template over a record: whom or what it is about. Only content that differs is an event then."),
    ] = None
    ignore: Annotated[tuple[str, ...], Meta(description="Names of a record's fields whose changes are none.")] = ()
    export: Annotated[
        ExportSettings | None, Meta(description="How to get at what the source makes a file of, while one waits.")
    ] = None
    parent: Annotated[ParentSettings | None, Meta(description="The stream about whose records this one asks.")] = None
    errors: Annotated[ErrorSettings | None, Meta(description="What answers mean; by default the connector's.")] = None
    freshness: Annotated[Duration | None, Meta(description="The stream's objective, instead of the connector's.")] = None
    every: Annotated[Duration | None, Meta(description="Look so often, instead of as often as `freshness` asks for.")] = None


class RestSettings(_Table, frozen=True, kw_only=True):
    """The keys of a connector of type ``rest``."""

    base_url: Annotated[str, Meta(description="What all paths begin with: scheme, host, and a path.")]
    streams: Annotated[dict[str, StreamSettings], Meta(description="What is asked for, by name.")]
    auth: Annotated[Auth, Meta(description="How requests say who sends them.")] = NoAuth()
    limits: Annotated[
        Rate | tuple[Rate, ...],
        Meta(description="What the source allows this credential: one rate or several that hold together."),
    ] = Rate.parse("10/1s")
    quiet: Annotated[
        tuple[QuietHours, ...],
        Meta(
            description='Hours without a look, by the clocks there: `"22:00-06:00 Europe/Stockholm"`; one follows at their end.'
        ),
    ] = ()
    free_304: Annotated[bool, Meta(description="The source does not count answers 304.")] = False
    headers: Annotated[dict[str, str], Meta(description="Headers of every request.")] = {}
    page: Annotated[Paging | None, Meta(description="How pages follow each other in all streams that do not say.")] = None
    errors: Annotated[ErrorSettings, Meta(description="What answers mean in all streams that do not say.")] = ErrorSettings()
    every: Annotated[Duration | None, Meta(description="Look so often in all streams that do not say.")] = None
    timeout: Annotated[Duration, Meta(description="A whole answer must have come by then.")] = Duration.parse("30s")
    max_body: Annotated[Size, Meta(description="The largest answer that is taken (at most 10MiB).")] = Size.parse("10MiB")

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The limits, one or several."""
        return (self.limits,) if isinstance(self.limits, Rate) else self.limits

    def demand(self, freshness: float | None) -> Demand:
        """What is asked of its host at the least; ``freshness`` is the connector's, in seconds."""
        wanted = {}
        for name, stream in self.streams.items():
            objective = stream.every or self.every or stream.freshness
            seconds = freshness if objective is None else objective.seconds
            if stream.parent is None and seconds is not None:
                wanted[name] = seconds
        return Demand(origin_of(self.base_url) or "", identity(self.auth), wanted, self.rates)
