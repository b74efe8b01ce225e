"""Templates and static files of the console: rendered with everything escaped, off the event loop."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cdmd.console import words
from cdmd.console.guarding import integrity

ROOT: Final = "/console"
_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Static(NamedTuple):
    """A file that pages name, with its ``integrity``; ``address`` changes with the content, so it may be kept for ever."""

    address: str
    content: bytes
    media_type: str
    integrity: str


class Drawing:
    """Reads files when they are first asked for: only off the event loop."""

    @cached_property
    def static(self) -> Mapping[str, Static]:
        """Every static file by its name."""
        found = {}
        for file in sorted((_FOLDER / "static").iterdir()):
            if file.suffix in _TYPES:
                content = file.read_bytes()
                mark = integrity(content)
                address = f"{ROOT}/static/{sha256(content).hexdigest()[:12]}/{file.name}"
                found[file.name] = Static(address, content, _TYPES[file.suffix], mark)
        return found

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.globals |= {"static": self.static, "root": ROOT, "shape": words.shape}
        made.globals |= {"rate_word": words.rate, "number_word": words.number, "span_word": words.span}
        for one in (words.number, words.rate, words.size, words.span, words.clock_time, words.ago, words.plain, words.document):
            made.filters[one.__name__] = one
        made.filters["segment"] = lambda text: quote(str(text), safe="")
        return made

    def page(self, template: str, values: Mapping[str, Any], *, now: datetime) -> bytes:
        """The page as HTML."""
        return self._templates.get_template(template).render(values, now=now).encode(errors="replace")
