"""What a form brings: bounded, as text by name."""

from collections.abc import Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from cdmd.control.asking import MAX_BODY
from cdmd.errors import BadArguments

Form: TypeAlias = Mapping[str, str]
_MOST_FIELDS: Final = 1200


async def read(request: Request) -> Form:
    """The form. Raises ``BadArguments`` for one that is too large, not whole or not understood."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise BadArguments(f"a form of more than {MAX_BODY} bytes")
    except ClientDisconnect as error:
        raise BadArguments("the browser left before the form was whole") from error
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise BadArguments("the form is not understood") from error


def needed(form: Form, name: str) -> str:
    """A field that must be there. Raises ``BadArguments``."""
    value = form.get(name)
    if not value:
        raise BadArguments(f"the form lacks {name}: load the page again")
    return value
