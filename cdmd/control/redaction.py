"""What is left of a document for someone who may not see personal data: its structure and kinds, none of its values.

Works on the documents of ``cdmd.profiles.shape``; pure. A field that is not named here is left out, so that a new one is
hidden until somebody decides.
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
    masked = {field: names(document[field]) for field in ("identifiers", "traits", "data")}
    return _kept(document, "id", "source", "type", "time", "received") | masked


def profile(document: Mapping[str, Any]) -> dict[str, Any]:
    """A profile document (CONTRACT section 4) without a value that says who it is or what that one did."""
    return _kept(document, "id", "audiences", "estimated", "restricted", "created", "updated") | {
        "identifiers": [
            _kept(row, "kind", "first_seen", "last_seen", "source") | {"value": REDACTED} for row in document["identifiers"]
        ],
        "traits": names(document["traits"]),
        "trait_sources": {
            key if _PLAIN_WORD.fullmatch(key) else REDACTED: row for key, row in document["trait_sources"].items()
        },
        "indicators": dict.fromkeys(document["indicators"], REDACTED),
        "activities": [
            _kept(row, "id", "type", "time", "source") | {"data": names(row["data"])} for row in document["activities"]
        ],
    }


def _kept(document: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {field: document[field] for field in fields if field in document}
