import pytest

from cdmd.errors import NotPermitted
from cdmd.kit.sealing import Seal


def test_what_was_sealed_is_opened_by_who_has_the_key_and_for_what_it_was_sealed_for() -> None:
    seal = Seal(bytes(32))
    closed = seal.close(b"joe@example.com", "asked")
    assert (seal.open(closed, "asked"), b"joe" in closed) == (b"joe@example.com", False)
    assert seal.close(b"joe@example.com", "asked") != closed
    for other, about, sealed in (
        (Seal(bytes(31) + b"x"), "asked", closed),
        (seal, "answer 1", closed),
        (seal, "asked", closed[:-1] + bytes([closed[-1] ^ 1])),
        (seal, "asked", b"short"),
    ):
        with pytest.raises(NotPermitted, match="not sealed with the key"):
            other.open(sealed, about)
