"""The table of pages: each path below ``/console`` and what shows it."""

from typing import Final

from cdmd.console import customers, deliveries, events, files, letters, overview, settings
from cdmd.console.pages import Handler

SEARCHES: Final[tuple[tuple[str, Handler], ...]] = (("/customers", customers.search),)
"""What is looked for by a form that is sent: it names people, and addresses are kept by browsers and shown to others."""

PAGES: Final[tuple[tuple[str, Handler], ...]] = (
    ("/", overview.overview),
    ("/overview", overview.overview),
    ("/connectors/{name}", overview.connector),
    ("/customers", customers.customers),
    ("/customers/{public}", customers.customer),
    ("/live", events.live),
    ("/live/stream", events.stream),
    ("/event", events.event),
    ("/dead-letters", letters.letters),
    ("/dead-letters/{seq:int}", letters.letter),
    ("/files", files.files),
    ("/deliveries", deliveries.deliveries),
    ("/deliveries/{id}", deliveries.delivery),
    ("/plugins", settings.plugins),
    ("/plugins/{name}", settings.plugin),
    ("/configuration", settings.configuration),
    ("/audit", settings.audit),
)
