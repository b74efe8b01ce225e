"""The decorator with which a plugin declares an extension. Not here: registering and calling it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cdmd.contracts import Extension, ExtensionFunction
from cdmd.errors import PluginFault


def extension(
    on: str | Sequence[str], *, timeout: float = 5.0, on_failure: str = "hold", name: str | None = None
) -> Callable[[ExtensionFunction], Extension]:
    """Make an extension of a function that takes an event and a context.

    ``on`` is a type glob or several; ``timeout`` in seconds bounds each call; ``on_failure`` says what becomes of an event
    when the call fails: ``hold`` (try again later), ``store`` (go on without it), ``reject`` (dead letter).
    Raises ``PluginFault`` for a declaration that cannot work.
    """
    globs: tuple[Any, ...] = (on,) if isinstance(on, str) else tuple(on)
    checked = Extension(name=name or "unnamed", on=globs, function=None, timeout=timeout, on_failure=on_failure)

    def declare(function: ExtensionFunction) -> Extension:
        if not callable(function):
            raise PluginFault("an extension is a function that takes an event and a context")
        called = name or str(getattr(function, "__name__", type(function).__name__))
        return msgspec.structs.replace(checked, name=called, function=function, timeout=float(timeout))

    return declare
