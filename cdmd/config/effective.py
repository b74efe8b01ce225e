"""The effective configuration as plain data: defaults included, secrets as the references they were written as."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdmd.config.reading import fields_of
from cdmd.config.schema import Config
from cdmd.config.secrets import LITERAL, PREFIXES, names_a_secret
from cdmd.contracts import ChosenFormat
from cdmd.kit.quantities import Duration, Rate, Size
from cdmd.kit.quiet import QuietHours
from cdmd.kit.secret import Secret

_PASSWORD: Final = re.compile(r"//[^/?#\s@]*:[^/?#\s@]*@")
_PARAMETER: Final = re.compile(r"([?&]([^=&#\s{}<>!]+)=)(?!=)([^&#\s{}]+)")
"""Of an address; a comparison in an expression, ``[?key=='a']``, is none."""

_REQUEST: Final = ("headers", "params")
_CREDENTIALS: Final = frozenset(("authorization", "proxy_authorization", "cookie"))
_SECTIONS = (
    "daemon",
    "http",
    "control",
    "metrics",
    "opentelemetry",
    "network",
    "queue",
    "journal",
    "store",
    "dead_letters",
    "dedupe",
    "deliveries",
    "parked",
    "identity",
    "privacy",
)


def effective(config: Config, *, plugins: Mapping[str, Any]) -> dict[str, Any]:
    """All of ``config`` as tables, texts, numbers and booleans; ``plugins`` as they were written. Unset keys are left out."""
    shown = {name: plain(getattr(config, name)) for name in _SECTIONS}
    shown["daemon"]["state_dir"] = str(config.state_dir)
    shown["control"]["socket"] = str(config.control_socket)
    shown["traits"] = plain(config.traits)
    shown["indicators"], shown["audiences"] = plain(config.indicators), plain(config.audiences)
    shown["connectors"] = {
        name: {**plain(connector.frame), **plain(connector.settings)} for name, connector in config.connectors.items()
    }
    shown["targets"] = {name: {**plain(one.frame), **plain(one.settings)} for name, one in config.targets.items()}
    shown["plugins"] = _undeclared(plain(plugins))
    return shown


def _undeclared(value: Any, *, secret: bool = False) -> Any:
    """A plugin's own table: texts under a name that speaks of a secret are hidden unless they are references."""
    match value:
        case dict():
            return {name: _undeclared(one, secret=secret or names_a_secret(name)) for name, one in value.items()}
        case list():
            return [_undeclared(one, secret=secret) for one in value]
        case str() if secret and not value.startswith(PREFIXES):
            return LITERAL
        case _:
            return value


def plain(value: Any) -> Any:
    """Any settings value as plain data; a Secret becomes its reference."""
    match value:
        case Secret():
            return value.reference
        case str():
            return _PARAMETER.sub(_of_address, _PASSWORD.sub(f"//{LITERAL}@", value))
        case Duration() | Size() | Rate() | QuietHours():
            return str(value)
        case ChosenFormat(format=chosen, settings=settings):
            return {"type": chosen.name, **plain(settings)}
        case msgspec.Struct():
            found = plain(_fields(value))
            return found | {name: _sent(found[name]) for name in _REQUEST if isinstance(found.get(name), dict)}
        case Mapping():
            return {str(name): plain(one) for name, one in value.items() if one is not None}
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
        case _:
            return value if isinstance(value, (int, float, bool)) or value is None else str(value)


def _sent(table: Mapping[str, Any]) -> dict[str, Any]:
    """Headers and parameters of requests: constants are hidden whose names speak of a secret; references are not."""
    return {name: LITERAL if _is_constant(one) and _speaks(name) else one for name, one in table.items()}


def _is_constant(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "{" not in value and not value.startswith(PREFIXES)


def _of_address(found: re.Match[str]) -> str:
    return found[1] + LITERAL if _speaks(found[2]) else found[0]


def _speaks(name: str) -> bool:
    written = name.replace("-", "_").lower()
    return written in _CREDENTIALS or names_a_secret(written)


def defaults(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The defaults of a struct's keys as plain data, of those that have one."""
    found = {}
    for field in fields_of(struct):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if default is not msgspec.NODEFAULT and default is not None:
            found[field.encode_name] = plain(default)
    return found


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    config = value.__struct_config__
    shown = {field.encode_name: getattr(value, field.name) for field in fields_of(type(value))}
    return {config.tag_field: config.tag, **shown} if config.tag_field else shown
