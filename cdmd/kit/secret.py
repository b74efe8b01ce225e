"""A secret that never prints itself. Where secrets come from is ``cdmd.config.secrets``."""

from typing_extensions import override


class Secret:
    """A resolved secret: ``reveal()`` is the only way to its bytes. ``reference`` (``env:NAME``) may be shown."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: bytes, *, reference: str) -> None:
        self._value, self.reference = value, reference

    def reveal(self) -> bytes:
        """The secret's bytes."""
        return self._value

    @override
    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    @override
    def __str__(self) -> str:
        return "[secret]"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._value, self.reference) == (other._value, other.reference)

    @override
    def __hash__(self) -> int:
        return hash(self._value)

    @override
    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is never pickled")
