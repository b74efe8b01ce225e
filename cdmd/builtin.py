"""What cdmd brings itself, as one plugin among others: connectors and formats, targets."""

from cdmd.connectors.registered import cdmd_connectors, cdmd_formats
from cdmd.targets import cdmd_targets

__all__ = ["cdmd_connectors", "cdmd_formats", "cdmd_targets"]
