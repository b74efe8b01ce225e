"""The configuration that the benches run: one webhook connector, two identifiers, three indicators, an extension."""

import os
from pathlib import Path

from tests.bench.load import SECRET

CONNECTOR = f"""
[connectors.shop]
type = "webhook"
verify = "standard-webhooks"
secrets = ["{SECRET}"]
[connectors.shop.event]
id = "{{id}}:{{status}}"
type = "order.{{status}}"
time = "{{created_at}}"
identifiers = {{ email = "{{customer.email}}", customer_no = "{{customer.id}}" }}
traits = {{ first_name = "{{customer.first_name}}", city = "{{customer.city}}" }}
data = {{ total = "{{total}}", currency = "{{currency}}" }}
"""
INDICATORS = """
[indicators.orders]
on = ["order.*"]
[indicators.spent]
on = ["order.paid"]
value = "{data.total}"
compute = "sum"
[indicators.largest]
on = ["order.*"]
value = "{data.total}"
compute = "max"
"""
CONFIG = CONNECTOR + INDICATORS
RICH = (
    CONNECTOR.replace(" }\ntraits", ', user_id = "u{customer.id}" }\ntraits')
    + INDICATORS
    + """
[indicators.orders_30d]
on = ["order.*"]
window = "30d"
[indicators.spent_month]
on = ["order.paid"]
value = "{data.total}"
compute = "sum"
window = "month Europe/Stockholm"
[audiences.frequent]
where = "indicators.orders_30d >= 2"
[audiences.good]
where = "indicators.spent_month >= 1000.0 && profile.traits.city == 'Lund'"
[audiences.large]
where = "indicators.largest > 500.0"
"""
)
"""The same with three identifiers, five indicators of which two have a window, and three audiences."""

OWN = '[store]\nprocess = "own"\n'
"""The store is written by a process of its own."""

PLUGIN = '''
"""One extension that adds an entry and does not wait."""
import cdmd

@cdmd.extension(on="order.*")
async def discount(event, context):
    return event.enriched(discount=5)

@cdmd.hookimpl
def cdmd_extensions():
    return [discount]
'''


def with_extension(folder: Path) -> dict[str, str]:
    """An environment in which a plugin with one extension is installed (in ``folder``)."""
    installed = folder / "plugin"
    info = installed / "bench_discount-0.1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (installed / "bench_discount.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-discount\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[cdmd]\nbench = bench_discount\n")
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, str(installed)])}
