"""What ``chaos`` lets things befall: nodes that are started again whenever they end, and senders that deliver again.

Not here: the faults (``chaos``), and what must hold afterwards (``afterwards``).
"""

import json
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Final

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.cluster.afterwards import GONE

CONFIG: Final = """
[http]
listen = ["127.0.0.1:{port}"]
[journal]
reserve = "1MiB"
url = "{nats}"
partitions = 4
[store]
url = {store}
[connectors.inbox]
type = "webhook"
verify = "none"
[connectors.inbox.event]
id = "{{id}}"
type = "order.paid"
identifiers = {{ email = "{{email}}", customer_no = "{{no}}" }}
traits = {{ newest = "{{n}}" }}
data = {{ n = "{{n}}" }}
[indicators.orders]
on = ["order.*"]
[indicators.turnover]
on = ["order.*"]
value = "{{data.n}}"
compute = "sum"
[indicators.last]
on = ["order.*"]
value = "{{data.n}}"
compute = "last"
"""
ROWS: Final = """
[connectors.files.event]
type = "row.delivered"
identifiers = { email = "{email}" }
data = { n = "{n}" }
"""


class Node:
    """One that is started again whenever it ends."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon, self.rest, self.exits = daemon, 0.3, list[int]()
        self._ended = threading.Event()
        self._keeping = threading.Thread(target=self._keep)

    def begin(self) -> None:
        self._keeping.start()

    def _keep(self) -> None:
        while not self._ended.is_set():
            with suppress(CdmdError):
                self.daemon.start()
            process = self.daemon.process
            assert process is not None
            self.exits.append(process.wait())
            assert process.stdout is not None
            process.stdout.close()
            self._ended.wait(self.rest)

    def signal(self, number: signal.Signals) -> None:
        if (process := self.daemon.process) is not None:
            process.send_signal(number)

    def end(self) -> None:
        self._ended.set()
        self.signal(signal.SIGKILL)
        self._keeping.join(60)


class Sender(threading.Thread):
    """Sends orders, each to one node or the other until it is acknowledged, before the next one; now and then an old one."""

    def __init__(self, number: int, ports: Sequence[int], seed: int) -> None:
        super().__init__(daemon=True)
        self._number, self._ports, self._random = number, ports, random.Random(f"{seed}/{number}")
        self.ended = threading.Event()
        self.sent: list[dict[str, object]] = []

    def run(self) -> None:
        while not self.ended.is_set():
            self.sent.append(self._order(len(self.sent)))
            while not self._acknowledged(self.sent[-1]):
                threading.Event().wait(0.05)
            if self._random.random() < 0.1:
                self._acknowledged(self._random.choice(self.sent))
            self.ended.wait(0.01)

    def _order(self, n: int) -> dict[str, object]:
        """Of one customer three in a row, by one identifier, by another, by both; some senders know but one."""
        whom = f"s{self._number}c{n // 3 % 10}"
        named = {"email": f"{whom}@example.com", "no": whom}
        if self._number % 2:
            named = [{"email": named["email"]}, {"no": named["no"]}, named][n % 3]
        elif n % 7 == 3:
            named = {"email": GONE.format(n % 4 * 2 + self._number // 2)}
        else:
            del named["no"]
        return {"id": f"s{self._number}-{n}", "n": n, **named}

    def _acknowledged(self, order: dict[str, object]) -> bool:
        connection = HTTPConnection("127.0.0.1", self._random.choice(self._ports), timeout=8)
        try:
            connection.request("POST", "/hooks/inbox", json.dumps(order), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        return answer.status == 200
