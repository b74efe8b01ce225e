"""The table of pages: each path below ``/console`` and what shows it."""

from typing import Final

from cdmd.console import customers, overview
from cdmd.console.pages import Handler

PAGES: Final[tuple[tuple[str, Handler], ...]] = (
    ("/", overview.overview),
    ("/overview", overview.overview),
    ("/connectors/{name}", overview.connector),
    ("/customers", customers.customers),
    ("/customers/{public}", customers.customer),
)
