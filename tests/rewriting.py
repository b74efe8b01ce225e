"""What each of several processes would make for itself from a fresh checkout, made by one of them.

pytest keeps which asserts it rewrote, but processes that begin together reach each file together, and all of them rewrite it.
Hypothesis keeps which characters there are in UTF-8, which takes it two seconds. What both are asked for here is their own
affair and may be named otherwise some day: then each process makes all of it, as it does by itself.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest.assertion import rewrite
from hypothesis.internal import charmap


def rewrite_share(files: Sequence[Path], config: pytest.Config, *, number: int, processes: int) -> None:
    """Rewrite every so manieth of ``files``, the share of the process ``number`` (from 0), where that is not done yet."""
    with suppress(AttributeError):
        for file in files[number::processes]:
            folder = rewrite.get_cache_dir(file)
            kept = folder / (file.stem + rewrite.PYC_TAIL)
            if rewrite.try_makedirs(folder) and rewrite._read_pyc(file, kept) is None:
                source, code = rewrite._rewrite_test(file, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)


def know_characters() -> None:
    """What ``st.text()`` draws from is on the disk before the first test asks for it."""
    with suppress(AttributeError):
        charmap.intervals_from_codec("utf-8")
