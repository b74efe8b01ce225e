"""Forms and queries, ``name=value&name=value`` percent-encoded, as WHATWG and the standard library read them, in little time.

``urllib.parse.parse_qsl`` takes a text apart at every percent sign: half a second for 1 MiB of ``%41``, from anybody. Here the
decoder of quoted-printable text does it, which is the same but for the sign before the two digits. Pure.
"""

import re
from binascii import a2b_qp
from typing import Final

_LONE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def fields(text: bytes, *, most: int) -> list[tuple[str, str]]:
    """Names and values in their order, empty values too. Raises ValueError beyond ``most`` fields and for what is no UTF-8."""
    if text.count(b"&") >= most:
        raise ValueError(f"there are more than {most} fields")
    found: list[tuple[str, str]] = []
    for field in text.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            found.append((_plain(name), _plain(value)))
    return found


def _plain(part: bytes) -> str:
    part = part.replace(b"+", b" ")
    if b"%" in part:
        # A sign without two digits behind it stands for itself.
        part = a2b_qp(_LONE.sub(b"%25", part).replace(b"=", b"=3D").replace(b"%", b"="))
    return part.decode()
