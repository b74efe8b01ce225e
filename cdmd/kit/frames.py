"""What may be said about an exception: its class and where it was raised. Never its message, never a local value.

A message can hold a customer's address or a secret ("invalid literal for int(): 'joe@...'"), so none is ever shown.
"""

import traceback
from collections.abc import Iterator
from pathlib import PurePath

MOST_FRAMES = 20
MOST_CAUSES = 5


def class_name(error: BaseException) -> str:
    """``KeyError``, ``httpx.ConnectError``: the class with its package unless it is built in."""
    cls = type(error)
    package = cls.__module__.partition(".")[0]
    return cls.__qualname__ if package == "builtins" else f"{package}.{cls.__qualname__}"


def frames(error: BaseException) -> list[str]:
    """Where it was raised, innermost last: ``package/module.py:12 function`` for the last twenty frames."""
    found = [
        f"{_short(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return found[-MOST_FRAMES:]


def chain(error: BaseException) -> list[str]:
    """The classes of the exceptions behind it, nearest first, at most five."""
    return [class_name(cause) for cause in _causes(error)][:MOST_CAUSES]


def leaf(error: BaseException) -> BaseException:
    """The first real exception inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def place(module: str, filename: str) -> str:
    """The file of a module as its author knows it: from its package on, ``cdmd_warranty/asking.py``."""
    path = PurePath(filename)
    return "/".join(path.parts[-(module.count(".") + 1 + (path.name == "__init__.py")) :])


def sentence(error: BaseException) -> str:
    """One sentence without values: ``it raised KeyError in cdmd_warranty/__init__.py:12 ask``."""
    error = leaf(error)
    where = frames(error)
    return f"it raised {class_name(error)}" + (f" in {where[-1]}" if where else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _short(path: str) -> str:
    return "/".join(PurePath(path).parts[-2:])
