"""A file format as it was written for hooks 1.0."""

from collections.abc import Iterator
from typing import BinaryIO, ClassVar

import msgspec

import cdmd


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    comment: str = "#"


class Lines:
    """Each line is ``NUMBER NAME``."""

    name: ClassVar[str] = "frozen-lines"
    Settings: ClassVar[type[msgspec.Struct]] = Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def rows(self, stream: BinaryIO) -> Iterator[cdmd.Row]:
        for number, line in enumerate(stream, 1):
            text = line.decode().strip()
            if number == 1 and text != "frozen":
                raise cdmd.FormatFault("no_header", "its first line is not: frozen")
            if number == 1 or text.startswith(self.settings.comment):
                continue
            words = text.split(" ", 1)
            if len(words) == 2:
                yield cdmd.Row(number, number, {"number": words[0], "name": words[1]})
            else:
                yield cdmd.Row(number, number, None, fault=cdmd.Fault("short_line", "a line has no name"), raw=line)


@cdmd.hookimpl
def cdmd_formats() -> list[type[cdmd.Format]]:
    return [Lines]
