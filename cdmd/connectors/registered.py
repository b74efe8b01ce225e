"""The built-in connectors and file formats, registered through the same hooks as a plugin's."""

from collections.abc import Sequence

from cdmd.connectors.applications import Application
from cdmd.connectors.files import FolderFiles, SftpFiles
from cdmd.connectors.formats import FORMATS
from cdmd.connectors.rest import Rest
from cdmd.connectors.webhooks import Webhook
from cdmd.contracts import Connector, Format
from cdmd.hookspecs import hookimpl


@hookimpl
def cdmd_connectors() -> Sequence[type[Connector]]:
    """The connector types that cdmd brings itself."""
    return [Webhook, Application, FolderFiles, SftpFiles, Rest]


@hookimpl
def cdmd_formats() -> Sequence[type[Format]]:
    """The file formats that cdmd brings itself."""
    return FORMATS
