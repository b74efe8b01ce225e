"""JSON values whose texts are templates: a request's body, a query. Pure."""

from collections.abc import Mapping
from typing import Any

from cdmd.kit.templates import Template


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
