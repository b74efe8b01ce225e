"""The shapes that the control socket speaks about what is kept of people (see ``protocol``)."""

import msgspec


class SuppressionsRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many digests are on the suppression list."""

    digests: int
