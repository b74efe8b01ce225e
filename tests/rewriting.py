"""Whose turn it is to rewrite the asserts of which tests, where several processes collect the same ones from a fresh checkout.

pytest keeps what it rewrote, but processes that begin together reach each file together, and all of them rewrite it. What it is
asked for here is its own affair and may be named otherwise some day: then each process rewrites all, as it does by itself.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


def rewrite_share(files: Sequence[Path], config: pytest.Config, *, number: int, processes: int) -> None:
    """Rewrite every so manieth of ``files``, the share of the process ``number`` (from 0), where that is not done yet."""
    with suppress(AttributeError):
        for file in files[number::processes]:
            folder = rewrite.get_cache_dir(file)
            kept = folder / (file.stem + rewrite.PYC_TAIL)
            if rewrite.try_makedirs(folder) and rewrite._read_pyc(file, kept) is None:
                source, code = rewrite._rewrite_test(file, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)
