"""What is left of a document for someone who may not see personal data: its structure and kinds, none of its values.

Works on the documents of ``cdmd.profiles.shape``; pure. A field that is not named here is left out, so that a new one is hidden until
somebody decides.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"

# A name that somebody declared is a plain word; anything else may be a value that a sender used as a key.
_PLAIN_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def names(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with every value masked, and every key that is not a plain word."""
    return {key if _PLAIN_WORD.fullmatch(key) else REDACTED: REDACTED for key in mapping}


def event(document: Mapping[str, Any]) -> dict[str, Any]:
    """An event document (CONTRACT section 4) without identifiers, traits and data."""
    kept = {key: document[key] for key in ("id", "source", "type", "time", "received") if key in document}
    return kept | {key: names(document[key]) for key in ("identifiers", "traits", "data") if key in document}


def profile(document: Mapping[str, Any]) -> dict[str, Any]:
    """A profile document (CONTRACT section 4) without a value that says who it is or what that one did."""
    kept = {key: document[key] for key in ("id", "audiences", "created", "updated") if key in document}
    return kept | {
        "identifiers": [{**row, "value": REDACTED} for row in document.get("identifiers", [])],
        "traits": names(document.get("traits", {})),
        "indicators": dict.fromkeys(document.get("indicators", {}), REDACTED),
        "activities": [{**row, "data": names(row.get("data", {}))} for row in document.get("activities", [])],
    }
