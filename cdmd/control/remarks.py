"""What is counted about events beside what becomes of them: fields of a connector's row in ``status``."""

from typing import Final

REMARKS: Final = (
    "unattributed",
    "unusable",
    "kept_apart",
    "id_conflicts",
    "clock_ahead",
    "ignored_traits",
    "skipped_values",
    "missed",
)
