"""Keys prove what the algorithms' own library signs."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.proofs import key
from cdmd.kit.schemes import HMAC_DIGESTS, KeyForm
from cdmd.kit.secret import Secret


@given(
    algorithm=st.sampled_from(sorted(HMAC_DIGESTS)),
    secret=st.one_of(st.binary(min_size=1, max_size=40), st.integers(60, 300).map(lambda size: b"k" * size)),
    signed=st.binary(max_size=200),
)
def test_an_hmac_is_that_of_the_standard_library_whatever_its_keys_length(algorithm: str, secret: bytes, signed: bytes) -> None:
    made = key(algorithm, KeyForm(), Secret(secret, reference="env:KEY"))  # type: ignore[arg-type]
    right = hmac.digest(secret, signed, HMAC_DIGESTS[algorithm])
    assert made.proves(signed, [b"", right])
    assert not made.proves(signed + b"x", [right])
    assert not made.proves(signed, [hashlib.sha256(signed).digest(), right[:-1]])
