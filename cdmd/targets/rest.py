"""``type = "rest"``: deliveries written to an API that is declared in the configuration, one or several in a request.

Where one of several spoils the request for all, each half is sent by itself, until it stands alone. An answer may refuse some
of the records that came with it (``refused``).
"""

import builtins
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import anyio
import msgspec

from cdmd.contracts import HttpAnswer, Outlet
from cdmd.errors import AddressRefused, ConfigInvalid, CredentialRefused, RequestFailed, TemplateFault, ValueRefused
from cdmd.kit.coercions import as_text
from cdmd.kit.credentials import Signed
from cdmd.kit.filling import FORM, form_encoded, in_query, parsed, rendered
from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.spans import SpanContext
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate
from cdmd.models import Delivered, Delivery, DeliveryVerdict, Later, Never
from cdmd.targets.answers import verdict_of
from cdmd.targets.proving import Proving
from cdmd.targets.rest_settings import RECORDS, RefusedSettings, RestTargetSettings, address, problems
from cdmd.targets.seen import of_delivery, viewed

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LEAST: Final = 0.1
"""Of the time: with less than that left nothing is asked, which would only be cut off and sent again."""

_TYPES: Final = {"json": "application/json", "jsonl": "application/x-ndjson", "form": FORM}


class _Record(NamedTuple):
    """One delivery of a request: as templates see it, and what is sent of it. ``place`` is that among those handed over.

    ``span`` is the trace that it is part of.
    """

    place: int
    seen: Mapping[str, Any]
    sent: Any
    span: SpanContext | None


class RestTarget:
    """See the settings."""

    type: ClassVar[str] = "rest"
    Settings: ClassVar[builtins.type[msgspec.Struct]] = RestTargetSettings

    def __init__(self, name: str, settings: RestTargetSettings) -> None:
        if found := self.check(name, settings):
            raise ConfigInvalid([f"targets.{name}.{problem}" for problem in found])
        self._settings, self.batch = settings, settings.batch
        self._url = UrlTemplate.parse(address(settings))
        self._params, self._headers = parsed(settings.params), parsed(settings.headers)
        self._record, self._body = parsed(settings.record), parsed(settings.body)
        self._refused = None if settings.refused is None else _Refused(settings.refused)
        self._proving = Proving(settings.auth)

    @classmethod
    def check(cls, name: str, settings: RestTargetSettings) -> list[str]:
        """What a struct cannot express."""
        return problems(settings)

    async def deliver(self, deliveries: Sequence[Delivery], outlet: Outlet) -> Sequence[DeliveryVerdict]:
        """All that can be said of them in one request, if the API takes it so."""
        verdicts: dict[int, DeliveryVerdict] = {}
        records: list[_Record] = []
        for place, one in enumerate(deliveries):
            seen = viewed(of_delivery(one))
            try:
                records.append(_Record(place, seen, rendered(self._record, seen), one.span))
            except (TemplateFault, ValueRefused) as error:
                verdicts[place] = Never(reason=str(error))
        if records:
            until = outlet.clock.monotonic() + outlet.timeout
            with anyio.move_on_after(outlet.timeout):  # one asking may be several requests
                await self._deliver(records, outlet, verdicts, until=until)
        # Where something else became known the target is well, and these were not to blame.
        late = Later(reason=f"it took longer than {outlet.timeout:g} seconds", holds=not verdicts, counts=not verdicts)
        return [verdicts.get(place, late) for place in range(len(deliveries))]

    async def _deliver(
        self, records: Sequence[_Record], outlet: Outlet, verdicts: dict[int, DeliveryVerdict], *, until: float
    ) -> None:
        """Ask until then (monotonic seconds); of whom nothing is known by then there is no verdict."""
        if until - outlet.clock.monotonic() < outlet.timeout * _LEAST:
            return
        try:
            answer = await self._request(records, outlet)
        except (TemplateFault, ValueRefused) as error:
            verdicts |= {one.place: Never(reason=str(error)) for one in records}
        except (RequestFailed, AddressRefused, CredentialRefused) as error:
            if outlet.clock.monotonic() < until:
                verdicts |= {one.place: Later(reason=str(error)) for one in records}
        else:
            verdict = self._verdict(answer, outlet)
            if isinstance(verdict, Never) and len(records) > 1:
                half = len(records) // 2
                await self._deliver(records[:half], outlet, verdicts, until=until)
                await self._deliver(records[half:], outlet, verdicts, until=until)
                return
            verdicts |= {one.place: verdict for one in records}
            if isinstance(verdict, Delivered) and self._refused is not None:
                verdicts |= self._refused.of(answer, records)

    def _verdict(self, answer: HttpAnswer, outlet: Outlet) -> DeliveryVerdict:
        status = answer.status_code
        if status in self._settings.taken:
            return Delivered(status, answer.content)
        if status in self._settings.never:
            return Never(reason=f"it does not take it (status {status})", status=status, answer=answer.content)
        return verdict_of(status, answer.headers, answer.content, outlet.clock.now())

    # ---- asking ----------------------------------------------------------------------------------------------------

    async def _request(self, records: Sequence[_Record], outlet: Outlet) -> HttpAnswer:
        """The answer to one request about these. Raises as the guarded client does, and for templates."""
        seen: dict[str, Any] = {RECORDS: [one.sent for one in records]}
        if self.batch == 1:
            seen |= records[0].seen
        url, content = self._url.render(seen, {}), self._content(records, seen)
        headers = {name: as_text(value) for name, value in rendered(self._headers, seen).items()}
        params = {name: in_query(value) for name, value in rendered(self._params, seen).items()}
        headers = {**_type(self._settings, content), **headers, **_traced(records)}

        async def send(signed: Signed) -> HttpAnswer:
            proven, asked = {**headers, **signed.headers}, {**params, **signed.params}
            return await outlet.http.request(
                self._settings.method, url, headers=proven, params=asked or None, content=content, timeout=outlet.timeout
            )

        return await self._proving.ask(outlet, send)

    def _content(self, records: Sequence[_Record], seen: Mapping[str, Any]) -> bytes | None:
        sent = [one.sent for one in records]
        if self._settings.body_as == "jsonl":
            return b"".join(msgspec.json.encode(one) + b"\n" for one in sent)
        if self._body is not None:
            body = rendered(self._body, seen)
        elif self._record is None:
            return None
        else:
            body = sent[0] if self.batch == 1 else sent
        return form_encoded(body) if self._settings.body_as == "form" else msgspec.json.encode(body)


class _Refused:
    """Reads which records an answer refused."""

    def __init__(self, settings: RefusedSettings) -> None:
        self._records = Template.parse(settings.records)
        self._index, self._key, self._is_key, self._reason, self._again = (
            None if text is None else Template.parse(text)
            for text in (settings.index, settings.key, settings.is_key, settings.reason, settings.again)
        )

    def of(self, answer: HttpAnswer, records: Sequence[_Record]) -> dict[int, DeliveryVerdict]:
        """The verdicts of those that were refused, by their places. What cannot be told apart is sent again, all of it."""
        try:
            found = self._records.render(decode_json(answer.content), {}) or []
            refused = found if isinstance(found, list) else [found]
            return {self._place(one, records): self._verdict(one, answer) for one in refused}
        except (NotJson, TemplateFault, LookupError, ValueError) as error:
            what = "its answer does not say which records it refused"
            return {one.place: Later(reason=f"{what} ({type(error).__name__})", status=answer.status_code) for one in records}

    def _place(self, one: Any, records: Sequence[_Record]) -> int:
        if self._index is not None:
            number = int(as_text(self._index.render(one, {})))
            if number < 0:
                raise LookupError(number)
            return records[number].place
        if self._key is None or self._is_key is None:
            (only,) = records
            return only.place
        key = self._key.render(one, {})
        for record in records:
            if self._is_key.render(record.seen, {}) == key:
                return record.place
        raise LookupError(key)

    def _verdict(self, one: Any, answer: HttpAnswer) -> DeliveryVerdict:
        code = None if self._reason is None else self._reason.render(one, {})
        # A sentence may repeat the record's values; a single word is a code.
        named = f": {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
        reason = f"it refused the record (status {answer.status_code}){named}"
        if self._again is not None and self._again.render(one, {}) is True:
            return Later(reason=reason, status=answer.status_code, answer=msgspec.json.encode(one))
        return Never(reason=reason, status=answer.status_code, answer=msgspec.json.encode(one))


def _traced(records: Sequence[_Record]) -> Mapping[str, str]:
    """A request can be part of one trace: of several records it is part of none."""
    span = records[0].span if len(records) == 1 else None
    return {} if span is None else span.headers


def _type(settings: RestTargetSettings, content: bytes | None) -> dict[str, str]:
    return {} if content is None else {"content-type": _TYPES[settings.body_as]}
