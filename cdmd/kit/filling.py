"""JSON values whose texts are templates: a request's body, a form, a query. Pure."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from cdmd.kit.coercions import as_text
from cdmd.kit.templates import Template

FORM: Final = "application/x-www-form-urlencoded"
"""The content type of ``form_encoded``."""


def texts(value: Any) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    held = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [one for part in held for one in texts(part)]


def parsed(value: Any) -> Any:
    """The value with every text of it compiled. Raises ValueError."""
    if isinstance(value, str):
        return Template.parse(value)
    if isinstance(value, Mapping):
        return {name: parsed(one) for name, one in value.items()}
    return [parsed(one) for one in value] if isinstance(value, list | tuple) else value


def rendered(value: Any, scope: Mapping[str, Any]) -> Any:
    """What ``parsed`` made with its templates filled in; in tables what is null is left out. Raises ``TemplateFault``."""
    if isinstance(value, Template):
        return value.render(scope, {})
    if isinstance(value, dict):
        return {name: one for name, part in value.items() if (one := rendered(part, scope)) is not None}
    return [rendered(part, scope) for part in value] if isinstance(value, list) else value


def flat(value: Mapping[str, Any]) -> bool:
    """Whether a form can say it: texts, numbers and booleans, or lists of them."""
    return all(_is_plain(one) for part in value.values() for one in (part if isinstance(part, list | tuple) else [part]))


def in_query(value: Any) -> str:
    """A value as a query or a form says it; of a list each part is said by itself."""
    return ("true" if value else "false") if isinstance(value, bool) else as_text(value)


def as_form(value: Mapping[str, Any]) -> dict[str, list[str]]:
    """The fields of a form with their values as it says them. Raises ``TemplateFault`` for what it cannot say."""
    return {name: [in_query(one) for one in (part if isinstance(part, list) else [part])] for name, part in value.items()}


def form_encoded(value: Mapping[str, Any]) -> bytes:
    """The body of a form (``FORM``); a name with a list is there as often as the list is long. Raises ``TemplateFault``."""
    return urlencode(as_form(value), doseq=True).encode()


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
