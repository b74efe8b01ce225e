"""``cdmd demo``: the story of a television, told while it happens, with real senders, a real daemon and a real crash.

Everything is on loopback and in a folder that goes away at the end. Not here: the parts (``demo_sandbox``, ``demo_sending``,
``demo_contracts``) and what must have arrived (``demo_checking``).
"""

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

from cdmd.cli.demo_application import CALLS, PACKAGE, report
from cdmd.cli.demo_checking import Expected, missing
from cdmd.cli.demo_sandbox import PLUGIN, TERMS, Sandbox
from cdmd.cli.demo_sending import EMAIL, SERIAL, Delivery, complaint, order, reading
from cdmd.cli.demo_telling import Telling, customer_line, took
from cdmd.cli.running import FAILED, INTERRUPTED
from cdmd.errors import CdmdError

_READINGS: Final = 120
_KILLED_AFTER: Final = 50
_PATIENCE: Final = 10.0
_EVERY: Final = 3.0


@click.command()
@click.option("--once", is_flag=True, help="End by itself; exit status 0 only if everything arrived.")
def demo(once: bool) -> int:
    r"""A sandbox on loopback that shows the whole flow and needs nothing else.

    \b
    cdmd demo
    cdmd demo --once
    """
    telling = Telling.for_terminal(os.environ)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Sandbox() as sandbox:
            return _run(sandbox, telling, once=once)
    except KeyboardInterrupt:
        telling.heading("Stopped; nothing is left of it.")
        return INTERRUPTED if once else 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(sandbox: Sandbox, telling: Telling, *, once: bool) -> int:
    _introduce(sandbox, telling)
    _first_deliveries(sandbox, telling)
    _redelivered(sandbox, telling)
    _application(sandbox, telling)
    sent = _crash(sandbox, telling)
    lacking = missing(Expected(sent, TERMS if sandbox.plugin else None), sandbox.customer(), sandbox.status())
    for sentence in lacking:
        telling.bad(f"missing: {sentence}")
    if not lacking:
        telling.good("Everything that was acknowledged is there, each event once.")
    if not once:
        _stay(sandbox, telling, sent)
    return FAILED if lacking else 0


def _introduce(sandbox: Sandbox, telling: Telling) -> None:
    process = sandbox.daemon.process
    telling.heading("cdmd demo: a real daemon and its neighbours, all on loopback")
    telling.fact("daemon", f"{sandbox.daemon.url}, process {process.pid if process else '-'}, everything in {sandbox.folder}")
    telling.fact("contracts", f"{sandbox.contracts.url}, a small HTTP service that knows which television is under warranty")
    if not sandbox.plugin:
        telling.fact(
            "plugin",
            f"{PLUGIN} is not installed, so readings are stored without their terms (install cdmd-warranty to see them)",
        )


def _first_deliveries(sandbox: Sandbox, telling: Telling) -> None:
    keys = sandbox.keys
    telling.scene(f"The shop: Joe bought the television {SERIAL} (webhook, signed as Standard Webhooks)")
    _deliver(sandbox, telling, order(keys, sandbox.now))
    telling.scene("The support desk: Joe says that the picture flickers (webhook, signed as GitHub signs)")
    _deliver(sandbox, telling, complaint(keys))
    telling.scene(f"The television {SERIAL}: more than 10,000 hours; it knows its serial number only (bearer token)")
    _deliver(sandbox, telling, reading(keys, 1))
    if not sandbox.plugin:
        return
    terms = next((one["data"].get("warranty") for one in sandbox.customer()["activities"] if one["type"] == "tv.runtime"), None)
    covered = f"covered until {terms['until']}" if terms else "nothing"
    telling.fact("plugin", f"{PLUGIN} asked the contract service before the event was stored: {covered}")


def _deliver(sandbox: Sandbox, telling: Telling, delivery: Delivery) -> None:
    telling.fact("known before", customer_line(sandbox.customer()))
    answered = sandbox.deliver(delivery)
    telling.fact("answered", f"200 after {took(answered.seconds)}: it is on the disk, synced")
    sandbox.daemon.settle(held=True)
    telling.fact("known now", customer_line(sandbox.customer()))


def _redelivered(sandbox: Sandbox, telling: Telling) -> None:
    telling.scene("All three are delivered again, as senders do that saw no answer")
    before = sandbox.status()["totals"]["events"]
    for delivery in (order(sandbox.keys, sandbox.now), complaint(sandbox.keys), reading(sandbox.keys, 1)):
        sandbox.deliver(delivery)
    sandbox.daemon.settle(held=True)
    telling.fact("answered", "200 each: a repeat is accepted and has no second effect")
    telling.fact("events", f"{before} before, {sandbox.status()['totals']['events']} after")


def _application(sandbox: Sandbox, telling: Telling) -> None:
    telling.scene("The shop's app on Joe's telephone reports by itself (Segment tracking API, write key)")
    reported = report(sandbox.daemon.url, sandbox.keys.app)
    if reported.library is None:
        telling.fact("sent with", f"a client of ours, because {PACKAGE} is not installed (pip install 'cdmd[demo]')")
    else:
        telling.fact("sent with", f"{reported.library}, unchanged; its host is the daemon's address")
    telling.fact(
        "answered", f"{CALLS} calls taken after {took(reported.seconds)}: identify, screen and two that have their own names"
    )
    sandbox.daemon.settle(held=True)
    telling.fact("known now", customer_line(sandbox.customer()))


class _Television:
    """Sends readings one after the other and sends again what was not acknowledged, as a real sender does."""

    def __init__(self, sandbox: Sandbox, *, first: int, last: int) -> None:
        self._sandbox, self._numbers = sandbox, range(first, last + 1)
        self._told = threading.Condition()
        self.acknowledged = self.repeated = 0
        self._over = False
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return once so many are acknowledged; raises CdmdError."""
        with self._told:
            if not self._told.wait_for(lambda: self.acknowledged >= count, _PATIENCE):
                self._over = True
                raise CdmdError(f"only {self.acknowledged} of {count} readings were acknowledged in {_PATIENCE:g} s")

    def _send_all(self) -> None:
        for number in self._numbers:
            while not self._sent(number):
                if self._over:
                    return

    def _sent(self, number: int) -> bool:
        try:
            self._sandbox.deliver(reading(self._sandbox.keys, number))
        except CdmdError:
            with self._told:
                self.repeated += 1
                self._told.wait(0.05)
            return False
        with self._told:
            self.acknowledged += 1
            self._told.notify_all()
        return True


def _crash(sandbox: Sandbox, telling: Telling) -> int:
    telling.scene(f"The television sends {_READINGS - 1} more readings, and in their midst the daemon is killed (kill -9)")
    television = _Television(sandbox, first=2, last=_READINGS)
    television.start()
    television.wait_for(_KILLED_AFTER)
    told = television.acknowledged
    seconds = sandbox.crash_and_restart()
    process = sandbox.daemon.process
    telling.fact("killed", f"after {told} acknowledgements; ready again after {took(seconds)}")
    telling.fact("daemon", f"process {process.pid if process else '-'}, the same address")
    television.wait_for(_READINGS - 1)
    sandbox.daemon.settle(held=True)
    customer = sandbox.customer()
    stored = int((customer or {"indicators": {}})["indicators"].get("tv_readings", 0))
    telling.fact(
        "acknowledged", f"{television.acknowledged + 1} readings; what the crash cut off was sent again by the television"
    )
    telling.fact("stored", f"{stored} readings: none lost, none twice" if stored == _READINGS else f"{stored} readings")
    telling.fact("known now", customer_line(customer))
    return _READINGS


def _stay(sandbox: Sandbox, telling: Telling, sent: int) -> None:
    """Keep it running, with a reading every few seconds, until Ctrl-C."""
    look = f"{_cdmctl()} --socket {shlex.quote(str(sandbox.daemon.socket))}"
    telling.heading(f"It goes on running, with a reading every {_EVERY:g} seconds. Look for yourself, from another terminal:")
    for command in (
        f"{look} status",
        f"{look} profile show email:{EMAIL}",
        f"{look} events show reading-1 --reveal",
        f"{look} tail --reveal",
        f"{look} plugins",
        _curl(sandbox),
    ):
        click.echo(f"   {command}")
    telling.heading("Ctrl-C ends it.")
    pause = threading.Event()
    while not pause.wait(_EVERY):
        if sandbox.daemon.process is None or sandbox.daemon.process.poll() is not None:
            raise CdmdError("the daemon ended by itself: run the demo again")
        sent += 1
        sandbox.deliver(reading(sandbox.keys, sent))


def _cdmctl() -> str:
    beside = Path(sys.argv[0]).with_name("cdmctl")
    if os.sep in sys.argv[0] and beside.exists():
        return shlex.quote(str(beside))
    return "cdmctl"


def _curl(sandbox: Sandbox) -> str:
    token = shlex.quote(str(sandbox.folder / "tv.token"))
    body = f'{{"id":"mine-1","serial":"{SERIAL}","hours":20000}}'
    return (
        f"curl -H \"Authorization: Bearer $(cat {token})\" -H 'Content-Type: application/json' -d '{body}'"
        f" {sandbox.daemon.url}/hooks/tv"
    )
