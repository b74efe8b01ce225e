"""cdmd, the customer data management daemon: the names that a plugin may import. They resolve on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cdmd.contracts import Budget as Budget
    from cdmd.contracts import ChosenFormat as ChosenFormat
    from cdmd.contracts import Clock as Clock
    from cdmd.contracts import Connector as Connector
    from cdmd.contracts import Context as Context
    from cdmd.contracts import EventSettings as EventSettings
    from cdmd.contracts import Extension as Extension
    from cdmd.contracts import Format as Format
    from cdmd.contracts import Http as Http
    from cdmd.contracts import HttpAnswer as HttpAnswer
    from cdmd.contracts import Outlet as Outlet
    from cdmd.contracts import Shelf as Shelf
    from cdmd.contracts import Source as Source
    from cdmd.contracts import StreamFrame as StreamFrame
    from cdmd.contracts import Target as Target
    from cdmd.errors import AddressRefused as AddressRefused
    from cdmd.errors import ConfigInvalid as ConfigInvalid
    from cdmd.errors import Drop as Drop
    from cdmd.errors import Failed as Failed
    from cdmd.errors import FormatFault as FormatFault
    from cdmd.errors import NotDurable as NotDurable
    from cdmd.errors import Overloaded as Overloaded
    from cdmd.errors import Reject as Reject
    from cdmd.errors import RequestFailed as RequestFailed
    from cdmd.errors import RetryLater as RetryLater
    from cdmd.errors import SourceBlocked as SourceBlocked
    from cdmd.errors import SourceUnavailable as SourceUnavailable
    from cdmd.extensions import extension as extension
    from cdmd.hookspecs import HOOKS_VERSION as HOOKS_VERSION
    from cdmd.hookspecs import hookimpl as hookimpl
    from cdmd.kit.quantities import Duration as Duration
    from cdmd.kit.quantities import Size as Size
    from cdmd.kit.secret import Secret as Secret
    from cdmd.models import Accepted as Accepted
    from cdmd.models import Answer as Answer
    from cdmd.models import Delivered as Delivered
    from cdmd.models import Delivery as Delivery
    from cdmd.models import Emission as Emission
    from cdmd.models import Event as Event
    from cdmd.models import Fault as Fault
    from cdmd.models import Filtered as Filtered
    from cdmd.models import Gone as Gone
    from cdmd.models import Later as Later
    from cdmd.models import Never as Never
    from cdmd.models import Record as Record
    from cdmd.models import Rejected as Rejected
    from cdmd.models import Request as Request
    from cdmd.models import Route as Route
    from cdmd.models import Row as Row

__version__ = "0.1.0"

_HOMES: Final = {
    "cdmd.contracts": (
        "Budget",
        "ChosenFormat",
        "Clock",
        "Connector",
        "Context",
        "EventSettings",
        "Extension",
        "Format",
        "Http",
        "HttpAnswer",
        "Outlet",
        "Shelf",
        "Source",
        "StreamFrame",
        "Target",
    ),
    "cdmd.errors": (
        "AddressRefused",
        "ConfigInvalid",
        "Drop",
        "Failed",
        "FormatFault",
        "NotDurable",
        "Overloaded",
        "Reject",
        "RequestFailed",
        "RetryLater",
        "SourceBlocked",
        "SourceUnavailable",
    ),
    "cdmd.extensions": ("extension",),
    "cdmd.hookspecs": ("HOOKS_VERSION", "hookimpl"),
    "cdmd.kit.quantities": ("Duration", "Size"),
    "cdmd.kit.secret": ("Secret",),
    "cdmd.models": (
        "Accepted",
        "Answer",
        "Delivered",
        "Delivery",
        "Emission",
        "Event",
        "Fault",
        "Filtered",
        "Gone",
        "Later",
        "Never",
        "Record",
        "Rejected",
        "Request",
        "Route",
        "Row",
    ),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604 - names of strings, from the one table above


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'cdmd' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
