"""What targets can be told beside stored events, by name."""

from typing import Final, get_args

from cdmd.models import TargetState

CREATED: Final = "profile.created"
UPDATED: Final = "profile.updated"
MERGED: Final = "profile.merged"
ERASED: Final = "profile.erased"
ENTERED: Final = "audience.entered"
LEFT: Final = "audience.left"
CROSSED: Final = "indicator.crossed"
OF_TARGETS: Final = "target."
STATES: Final = tuple(f"{OF_TARGETS}{state}" for state in get_args(TargetState))
"""That a target came into this state; told to others that ask for it by name: ``*`` does not mean it."""

NEWS: Final = (CREATED, UPDATED, MERGED, ERASED, ENTERED, LEFT, CROSSED, *STATES)
"""What is told beside stored events."""
