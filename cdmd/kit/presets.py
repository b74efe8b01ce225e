"""The vendors' schemes by name, read from ``presets.toml`` beside this module when the first one is asked for."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import msgspec

from cdmd.kit.schemes import Scheme


@cache
def presets() -> Mapping[str, Scheme]:
    """Every preset by its name."""
    text = (files("cdmd.kit") / "presets.toml").read_text("utf-8")
    return MappingProxyType({name: msgspec.convert(words, Scheme) for name, words in tomllib.loads(text).items()})


def preset(name: str) -> Scheme:
    """The preset of that name. Raises ValueError with the nearest one, or all of them."""
    found = presets().get(name)
    if found is None:
        near = get_close_matches(name, presets(), n=1)
        hint = f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(presets())}"
        raise ValueError(f"{name!r} is no preset{hint}")
    return found


def scheme(verify: str | Scheme) -> Scheme:
    """What ``verify`` stands for: a preset, one with words changed, or a scheme of its own. Raises ValueError."""
    if isinstance(verify, str):
        return preset(verify)
    return verify if verify.preset is None else verify.over(preset(verify.preset))
