"""The decorator with which a plugin declares an extension. Not here: registering and calling it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from cdmd.contracts import Extension, ExtensionFunction
from cdmd.errors import PluginFault

ON_FAILURE: Final = ("hold", "store", "reject")


def extension(
    on: str | Sequence[str], *, timeout: float = 5.0, on_failure: str = "hold", name: str | None = None
) -> Callable[[ExtensionFunction], Extension]:
    """Make an extension of a function that takes an event and a context.

    ``on`` is a type glob or several; ``timeout`` in seconds bounds each call; ``on_failure`` says what becomes of an event
    when the call fails: ``hold`` (try again later), ``store`` (go on without it), ``reject`` (dead letter).
    Raises ``PluginFault`` for a declaration that cannot work.
    """
    globs: tuple[Any, ...] = (on,) if isinstance(on, str) else tuple(on)
    seconds: Any = timeout
    if not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise PluginFault('an extension needs on="EVENT TYPE" or a list of them')
    if on_failure not in ON_FAILURE:
        raise PluginFault(f"on_failure={on_failure!r} does not exist: write one of {', '.join(ON_FAILURE)}")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise PluginFault(f"timeout={timeout!r} is not a number of seconds above 0")

    def declare(function: ExtensionFunction) -> Extension:
        if not callable(function):
            raise PluginFault("an extension is a function that takes an event and a context")
        called = name or str(getattr(function, "__name__", type(function).__name__))
        return Extension(name=called, on=globs, function=function, timeout=float(seconds), on_failure=on_failure)

    return declare
