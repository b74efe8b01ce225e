"""The keys of a target of type ``rest``: the words in which an API is declared that is written to. Pure."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cdmd.kit.credentials import Auth, NoAuth
from cdmd.kit.filling import flat, parsed, texts
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate
from cdmd.targets.proving import auth_problems

MOST_AT_ONCE: Final = 1_000
RECORDS: Final = "records"
_END: Final = 600
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are mistakes."""


class RefusedSettings(_Table, frozen=True, kw_only=True):
    """``refused``: how an answer says that it did not take some of the records."""

    records: Annotated[str, Meta(description="A template over the answer (JSON): the list of what was refused.")]
    index: Annotated[
        str | None, Meta(description="A template over one of them: which record of the request it is, from 0.")
    ] = None
    key: Annotated[str | None, Meta(description="Instead: a template over one of them that names the record ...")] = None
    is_key: Annotated[str | None, Meta(description="... by what this template over the delivery says.")] = None
    reason: Annotated[str | None, Meta(description="A template over one of them: why, as a code (one word; no sentence).")] = (
        None
    )
    again: Annotated[
        str | None, Meta(description="A template over one of them: where it is true, the record is sent again later.")
    ] = None


class RestTargetSettings(_Table, frozen=True, kw_only=True):
    """The keys of a target of type ``rest``."""

    base_url: Annotated[str, Meta(description="Where the API begins. No part of it comes from data.")]
    path: Annotated[
        str, Meta(description="What follows it, as a template over the delivery: `/contacts/{profile.identifiers.crm_id}`.")
    ] = "/"
    method: Annotated[Literal["POST", "PUT", "PATCH", "DELETE", "GET"], Meta(description="How it is asked.")] = "POST"
    params: Annotated[dict[str, str], Meta(description="Parameters of the query, as templates.")] = {}
    headers: Annotated[
        dict[str, str], Meta(description="Headers, as templates; nothing secret among them: that is for `auth`.")
    ] = {}
    record: Annotated[
        dict[str, Any] | None,
        Meta(description="What is sent of one delivery, texts in it as templates. What is null is left out."),
    ] = None
    body: Annotated[
        dict[str, Any] | list[Any] | str | None,
        Meta(
            description=(
                "The request's body, texts in it as templates: of several at once `{records}` is the list of them. Without it "
                "the body is the record, or the list of them."
            )
        ),
    ] = None
    body_as: Annotated[Literal["json", "form", "jsonl"], Meta(description="How the body is written.")] = "json"
    batch: Annotated[int, Meta(description="How many are sent in one request.", ge=1, le=MOST_AT_ONCE)] = 1
    auth: Annotated[Auth, Meta(description="How the daemon proves who it is.")] = NoAuth()
    taken: Annotated[
        tuple[int, ...], Meta(description="Statuses beside 2xx that mean: it has it (`409` where it was there already).")
    ] = ()
    never: Annotated[
        tuple[int, ...],
        Meta(description="Statuses that mean: not this one, however often. Of several at once each is then sent alone."),
    ] = (400, 404, 405, 409, 413, 415, 422)
    refused: Annotated[
        RefusedSettings | None, Meta(description="How a successful answer says that it refused some of the records.")
    ] = None


def problems(settings: RestTargetSettings) -> list[str]:
    """Every mistake that the struct cannot express, as ``key: what is wrong``."""
    found = [*_templates(settings), *auth_problems(settings.auth)]
    if settings.record is None and settings.method in {"POST", "PUT", "PATCH"} and settings.body is None:
        found.append("record: is missing: what is sent of a delivery")
    if settings.body_as == "form" and (settings.batch > 1 or not flat(_sent(settings))):
        found.append("body_as: a form is of one delivery, and has texts, numbers and lists of them only")
    if settings.body_as == "jsonl" and settings.body is not None:
        found.append("body: json lines are the records alone")
    found += [f"headers.{name}: is set by the daemon" for name in settings.headers if name.lower() in _OWN_HEADERS]
    if both := set(settings.taken) & set(settings.never):
        found.append(f"taken: {min(both)} is in never, too")
    found += [
        f"{key}: {one} is no status" for key in ("taken", "never") for one in getattr(settings, key) if not _is_failure(one)
    ]
    if settings.batch > 1:
        found += _of_several(settings)
    return found + _refused(settings)


def _is_failure(status: int) -> bool:
    return HTTPStatus.MULTIPLE_CHOICES <= status < _END


def _sent(settings: RestTargetSettings) -> Mapping[str, Any]:
    sent = settings.record if settings.body is None else settings.body
    return sent if isinstance(sent, dict) else {} if sent is None else {"": {}}


def _templates(settings: RestTargetSettings) -> Iterator[str]:
    try:
        UrlTemplate.parse(address(settings))
    except ValueError as error:
        yield f"base_url: {error}"
    if "{" in settings.base_url:
        yield "base_url: is not a template: where data goes is the configuration's to say"
    for key in ("params", "headers"):
        for name, text in getattr(settings, key).items():
            yield from _template(f"{key}.{name}", text)
    for key in ("record", "body"):
        for text in texts(getattr(settings, key)):
            yield from _template(key, text)


def _template(key: str, text: str) -> Iterator[str]:
    try:
        parsed(text)
    except ValueError as error:
        yield f"{key}: {error}"


def _of_several(settings: RestTargetSettings) -> Iterator[str]:
    """What is the request's own cannot be different for each of its records."""
    if settings.method in {"GET", "DELETE"} and settings.body is None and settings.record is None:
        yield "batch: several are sent in a body, and there is none"
    own = {"path": [settings.path], "params": list(settings.params.values()), "headers": list(settings.headers.values())}
    for key, given in own.items():
        try:
            if any(not Template.parse(text).constant for text in given):
                yield f"{key}: of several at once it cannot be a template over one"
        except ValueError:
            continue  # said already


def _refused(settings: RestTargetSettings) -> list[str]:
    refused = settings.refused
    if refused is None:
        return []
    found = [
        problem
        for key in ("records", "index", "key", "is_key", "reason", "again")
        if (text := getattr(refused, key)) is not None
        for problem in _template(f"refused.{key}", text)
    ]
    if (refused.key is None) != (refused.is_key is None):
        found.append("refused.key: key and is_key go together")
    if settings.batch > 1 and refused.index is None and refused.key is None:
        found.append("refused.index: which record is it? Give index, or key and is_key")
    return found


def address(settings: RestTargetSettings) -> str:
    """The template of the request's address."""
    return f"{settings.base_url.rstrip('/')}/{settings.path.lstrip('/')}"
