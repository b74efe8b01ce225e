import copy
import json
import pickle
import traceback

import msgspec
import pytest

from cdmd.kit.secret import Secret

SECRET = Secret(b"geheim-4711", reference="env:TOKEN")


def test_only_reveal_gives_the_bytes() -> None:
    assert SECRET.reveal() == b"geheim-4711"
    assert SECRET.reference == "env:TOKEN"


def test_a_secret_never_prints_itself() -> None:
    shown = [repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!r}", "%s %r" % (SECRET, SECRET), format(SECRET), ascii([SECRET])]  # noqa: UP031
    assert not any("geheim" in one for one in shown)
    assert repr(SECRET) == "Secret('env:TOKEN')"


def test_a_secret_is_not_in_a_traceback() -> None:
    def use(secret: Secret) -> None:
        raise RuntimeError(f"failed with {secret}")

    with pytest.raises(RuntimeError) as caught:
        use(SECRET)
    lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "geheim" not in "".join(lines)


def test_a_secret_is_never_serialised() -> None:
    for attempt in (json.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            attempt(SECRET)
        assert "geheim" not in str(caught.value)


def test_secrets_compare_by_value_and_reference() -> None:
    assert Secret(b"a", reference="env:A") == Secret(b"a", reference="env:A")
    assert Secret(b"a", reference="env:A") != Secret(b"b", reference="env:A")
    assert Secret(b"a", reference="env:A") != b"a"
    assert len({Secret(b"a", reference="env:A"), Secret(b"a", reference="env:A")}) == 1
