"""The built-in target types, registered through the same hook as a plugin's."""

from collections.abc import Sequence

from cdmd.contracts import Target
from cdmd.hookspecs import hookimpl
from cdmd.targets.files import FolderFileTarget, SftpFileTarget
from cdmd.targets.rest import RestTarget
from cdmd.targets.webhooks import WebhookTarget


@hookimpl
def cdmd_targets() -> Sequence[type[Target]]:
    """The target types that cdmd brings itself."""
    return [WebhookTarget, RestTarget, FolderFileTarget, SftpFileTarget]
