"""The way from one page to the next, and when it ends: ``(where we are, what was answered) -> the next place``. Pure.

Nothing is guessed: a way that is not declared is none. A way that turns in circles, leads to another host or stops before the
source's own count is ``Stuck``, with a sentence for whoever has to look.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urljoin, urlsplit

from cdmd.connectors.rest.settings import (
    CursorPages,
    LinkPages,
    NextUrlPages,
    NumberedPages,
    OffsetPages,
    Paging,
    SinglePage,
)
from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_text, kind_of
from cdmd.kit.templates import Template
from cdmd.kit.urls import origin_of

_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[^;,\"=\s]+\s*(?:=\s*(?:\"[^\"]*\"|[^;,\"\s]*))?)*)")
_REL: Final = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^;,\"\s]*))", re.IGNORECASE)
_LONGEST: Final = 8192
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,128}")


class At(NamedTuple):
    """A place on the way: ``url`` or ``cursor`` where the source gave one; records and pages so far, this one not counted."""

    url: str | None = None
    cursor: str | int | None = None
    offset: int = 0
    number: int = 0
    came: int = 0
    pages: int = 0


class Answer(NamedTuple):
    """One page: the address it was asked at, the whole document, the answer's headers, and how many records it held."""

    url: str
    document: Any
    headers: Mapping[str, str]
    length: int


class End(NamedTuple):
    """There are no more pages."""


class Stuck(NamedTuple):
    """The way cannot be gone on; what was to come is missing."""

    reason: str


Step: TypeAlias = At | End | Stuck


class Way:
    """The declared way of one stream. ``origin`` is where it has to stay. Raises ValueError for a template that is none."""

    def __init__(self, settings: Paging, *, origin: str) -> None:
        self.settings, self._origin = settings, origin
        self._from, self._more, self._keep, self._total, self._pages = (
            None if (text := getattr(settings, name, None)) is None else Template.parse(text)
            for name in ("from_", "more", "keep", "total", "pages")
        )

    def first(self, kept: str | None) -> At:
        """Where a walk begins; ``kept`` is what the last one was given for it."""
        if kept is not None and isinstance(self.settings, NextUrlPages):
            return At(url=kept)
        if isinstance(self.settings, NumberedPages | OffsetPages):
            return At(number=self.settings.start, offset=self.settings.start)
        return At(cursor=kept)

    def params(self, at: At) -> dict[str, str]:
        """The parameters that ask for this page."""
        match self.settings:
            case CursorPages(param=str() as name) if at.cursor is not None:
                return {name: str(at.cursor)}
            case OffsetPages(param=name, limit_param=limit_param, limit=limit):
                wanted = [(name, str(at.offset)), (limit_param, str(limit))]
            case NumberedPages(param=name, limit_param=limit_param, limit=limit):
                wanted = [(name, str(at.number)), (limit_param, "" if limit is None else str(limit))]
            case _:
                return {}
        return {name: text for name, text in wanted if name is not None and text}

    def following(self, at: At, answer: Answer, *, full: int) -> Step:
        """What comes after this page; ``full`` is the page size that the source is known to give."""
        at = at._replace(came=at.came + answer.length, pages=at.pages + 1)
        try:
            step = self._following(at, answer, full)
        except TemplateFault as fault:
            return Stuck(f"the next page cannot be found: {fault}")
        if isinstance(step, End):
            return self._ended(at, answer, step)
        return step

    def _following(self, at: At, answer: Answer, full: int) -> Step:
        settings = self.settings
        if isinstance(settings, SinglePage) or (answer.length == 0 and self._ends_empty()):
            return End()
        if self._more is not None and not self._says(self._more, answer):
            return End()
        match settings:
            case LinkPages(rel=rel):
                return self._at_url(at, answer, link(answer.headers.get("link", ""), rel))
            case NextUrlPages():
                return self._at_url(at, answer, self._says(self._from, answer))
            case CursorPages():
                cursor = self._says(self._from, answer)
                return End() if cursor in (None, "") or isinstance(cursor, bool) else self._at_cursor(at, cursor)
            case OffsetPages(limit=limit):
                going = at._replace(offset=at.offset + answer.length)
                return going if self._goes_on(at, answer, limit, full) else End()
            case NumberedPages(limit=limit, start=start):
                going = at._replace(number=at.number + 1)
                pages = self._says(self._pages, answer)
                if isinstance(pages, int):
                    return going if going.number - start < pages else End()
                return going if self._goes_on(at, answer, limit, full) else End()

    def _ends_empty(self) -> bool:
        """Whether an empty page is the last one: an address and the source's own word are believed beyond it."""
        return isinstance(self.settings, OffsetPages) or (self._more is None and not isinstance(self.settings, NextUrlPages))

    def _goes_on(self, at: At, answer: Answer, limit: int | None, full: int) -> bool:
        """By the total or ``more`` where there is one; a short page is the last one only where full ones were seen before."""
        total = self.total(answer)
        if total is not None:
            return at.came < total
        return self._more is not None or limit is None or answer.length >= limit or full != limit

    def total(self, answer: Answer) -> int | None:
        """How many records there are, as the source says."""
        try:
            total = self._says(self._total, answer)
        except TemplateFault:
            return None
        return total if isinstance(total, int) and not isinstance(total, bool) else None

    def _at_cursor(self, at: At, cursor: Any) -> Step:
        if isinstance(cursor, dict | list):
            return Stuck(f"the next page's cursor is {kind_of(cursor)}, not text")
        text = as_text(cursor)
        if len(text) > _LONGEST:
            return Stuck("the next page's cursor is too long to be one")
        return at._replace(cursor=cursor if isinstance(cursor, int) else text)

    def _at_url(self, at: At, answer: Answer, found: Any) -> Step:
        if found is None or found == "":
            return End()
        if not isinstance(found, str) or len(found) > _LONGEST:
            return Stuck("the next page's address is none")
        url = within(found, base=answer.url, origin=self._origin)
        return at._replace(url=url) if url is not None else Stuck(_elsewhere(found))

    def _ended(self, at: At, answer: Answer, end: End) -> Step:
        total = self.total(answer)
        if total is not None and at.came < total:
            return Stuck(f"the source says that there are {total} records, and only {at.came} came")
        return end

    def keep(self, answer: Answer) -> "str | Stuck | None":
        """What this page gives for the next look."""
        try:
            keep = self._says(self._keep, answer)
        except TemplateFault as fault:
            return Stuck(f"what the next look begins with cannot be found: {fault}")
        if not isinstance(keep, str | int) or isinstance(keep, bool) or keep == "":
            return None
        if not isinstance(self.settings, NextUrlPages):
            return str(keep)
        return within(str(keep), base=answer.url, origin=self._origin) or Stuck(_elsewhere(str(keep)))

    @staticmethod
    def _says(template: Template | None, answer: Answer) -> Any:
        if template is None:
            return None
        headers = {name.lower().replace("-", "_"): text for name, text in answer.headers.items()}
        return template.render(answer.document, {"_fetch": {"headers": headers}})


class Circle:
    """Notices a way that turns in circles: a place that was there before, or a page that is the one before it."""

    def __init__(self) -> None:
        self._places: set[bytes] = set()
        self._page = b""

    def step(self, at: At) -> str | None:
        """Go to that place; why not, where it was there before."""
        if at.url is None and at.cursor is None:
            return None
        place = hashlib.blake2b(repr((at.url, at.cursor)).encode(), digest_size=16).digest()
        if place in self._places:
            return f"the source leads to a page that was read before (after {at.pages} pages): the walk was ended"
        self._places.add(place)
        return None

    def page(self, at: At, digest: bytes) -> str | None:
        """A page with these records; why it cannot be, where it is the one before."""
        if digest and digest == self._page:
            return f"the source gives the same page again (page {at.pages + 1}): the walk was ended"
        self._page = digest
        return None


def link(header: str, rel: str) -> str | None:
    """The target of that relation in a header ``Link`` (RFC 8288); None where there is none."""
    for found in _LINK.finditer(header[: 8 * _LONGEST]):
        relation = _REL.search(found[2])
        words = (relation[1] or relation[2] or "").lower().split() if relation is not None else []
        if rel.lower() in words:
            return found[1].strip()
    return None


def within(url: str, *, base: str, origin: str) -> str | None:
    """The absolute form of ``url`` at ``origin``; None where it leads elsewhere.

    An ``http`` address of the same host is taken as the ``https`` one that was asked before: servers behind a proxy write it.
    """
    try:
        whole = urljoin(base, url)
        parts, own = urlsplit(whole), urlsplit(origin)
        if parts.username is not None or parts.password is not None:
            return None
        if (parts.scheme, own.scheme, parts.port) == ("http", "https", None) and parts.hostname == own.hostname:
            whole = parts._replace(scheme="https", netloc=own.netloc).geturl()
    except ValueError:
        return None
    return whole.partition("#")[0] if origin_of(whole) == origin and whole.isprintable() else None


def _elsewhere(url: str) -> str:
    try:
        host = urlsplit(url).netloc
    except ValueError:
        host = ""
    named = f" ({host})" if _PRINTABLE.fullmatch(host) else ""
    return (
        f"the next page is at another host{named}, where credentials never go: "
        "if that is the API's own address, set base_url to it"
    )
