"""The body of a tracking request, taken apart: its calls with their exact sizes, and what the whole batch says for each.

Lenient where official libraries are: bare ``NaN`` and infinities count as null, the content type does not matter. One call that
cannot be decoded spoils no other. Not here: what a call means (``application_calls``).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from cdmd.connectors.webhook_body import Undecodable
from cdmd.kit.json_text import NotJson, decode_json

_T = TypeVar("_T")
_BOM: Final = b"\xef\xbb\xbf"
_NOT_JSON_WORDS: Final = (b"NaN", b"Infinity")
_MOST_REPAIRED: Final = 2**20
"""Bytes: what is larger and no JSON is not read a second time, which takes its time."""

_KEY: Final = re.compile(rb'"writeKey"\s*:\s*("(?:[^"\\]|\\.){1,1024}")').finditer
_END: Final = 32 * 1024
_MOST_KEYS: Final = 8


class _Envelope(msgspec.Struct):
    batch: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    context: Any = None
    integrations: Any = None
    sentAt: Any = None  # noqa: N815 - the name on the wire


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls of one request as they were sent, with what the request says for all of them."""

    texts: Sequence[bytes]
    batched: bool
    context: Any = None
    integrations: Any = None
    sent: Any = None

    def name(self, place: int) -> str:
        """Names the call at ``place`` by the content of all, without what a second sending changes (key, time of sending)."""
        return f"{self._digest}:{place}"

    @cached_property
    def _digest(self) -> str:
        made = hashlib.blake2b(digest_size=16)
        for text in self.texts if self.batched else map(_bare, self.texts):
            made.update(len(text).to_bytes(4, "big") + text)
        return made.hexdigest()


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_BARE: Final = msgspec.json.Encoder(order="deterministic").encode


def calls_in(body: bytes, *, batched: bool | None) -> Calls:
    """Take the body apart. ``batched`` says whether it must be a batch, None that it may be one. Raises Undecodable."""
    try:
        envelope, text = _read(_ENVELOPE, body)
    except msgspec.ValidationError:
        raise Undecodable(400, "invalid_body", "the body is an object, and its `batch`, if there is one, a list") from None
    if envelope.batch is msgspec.UNSET:
        if batched:
            raise Undecodable(400, "invalid_batch", "there is no list of calls under `batch`")
        return Calls(texts=(text,), batched=False)
    if batched is False:
        raise Undecodable(400, "invalid_body", "a batch belongs to /v1/batch")
    return Calls(
        texts=[bytes(one) for one in envelope.batch],
        batched=True,
        context=envelope.context,
        integrations=envelope.integrations,
        sent=envelope.sentAt,
    )


def keys_in(body: bytes) -> Iterator[str]:
    """Whatever stands under ``writeKey`` near the body's beginning and end: all that is read of it before a key is proven.

    Libraries write it before or behind their calls, and a single call fits into the two ends. Only a few are looked at.
    """
    ends = body if len(body) <= 2 * _END else b"%b\n%b" % (body[:_END], body[-_END:])
    for found in islice(_KEY(ends), _MOST_KEYS):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            yield msgspec.json.decode(found[1], type=str)


def salvaged(text: bytes) -> Any:
    """What can be shown of a call that is not to be taken: its value where a lenient reader understands it, else None."""
    if len(text) > _MOST_REPAIRED:
        return None
    try:
        value = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        strip_secrets(value)
    return value


def strip_secrets(call: dict[str, Any]) -> Any:
    """Take write key and user signature out of a call, for it is going to be kept; returns the signature."""
    call.pop("writeKey", None)
    context = call.get("context")
    return context.pop("userSignature", None) if isinstance(context, dict) else None


def _read(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> tuple[_T, bytes]:
    """The decoded body, and the text that it was read from. Raises Undecodable, and ValidationError for another shape."""
    text = body.removeprefix(_BOM)
    try:
        return decoder.decode(text), text
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        plain = _without_words(text)
    try:
        return decoder.decode(plain), plain
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _fault(plain) from None


def _without_words(text: bytes) -> bytes:
    """The same with null for what some libraries write and JSON does not know; as it is where that is not its trouble."""
    if len(text) > _MOST_REPAIRED or not any(word in text for word in _NOT_JSON_WORDS):
        return text
    try:
        return json.dumps(json.loads(text.decode(), parse_constant=_null)).encode()
    except (ValueError, RecursionError):
        return text


def _null(_word: str) -> None:
    return None


def _fault(text: bytes) -> Undecodable:
    try:
        decode_json(text)
    except NotJson as fault:
        return Undecodable(400, fault.code, fault.message)
    return Undecodable(400, "invalid_json", "JSON is malformed")


def _bare(text: bytes) -> bytes:
    """A single call without what a second sending changes."""
    try:
        call = decode_json(text)
    except NotJson:
        return text
    if not isinstance(call, dict):
        return text
    return _BARE({name: value for name, value in call.items() if name not in {"writeKey", "sentAt"}})
