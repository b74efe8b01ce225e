"""Leaves while it is imported."""

import sys

sys.exit("joe@example.com")
