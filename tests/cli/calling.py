"""``cdmctl`` as it is called in a test: its status, and what it printed where."""

import json
from collections.abc import Callable
from typing import NamedTuple


class Ended(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


Cdmctl = Callable[..., Ended]
