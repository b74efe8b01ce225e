"""``cdmd demo``: the story of a television, told while it happens, with real senders, a real daemon and a real crash.

Everything is on loopback and in a folder that goes away at the end. Not here: the neighbours and their scenes (``parts``),
the sandbox they share (``sandbox``), what must have arrived (``arrivals``).
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

from cdmd.cli.demo.arrivals import missing
from cdmd.cli.demo.cluster import play
from cdmd.cli.demo.part import EMAIL, SERIAL
from cdmd.cli.demo.parts import all_parts
from cdmd.cli.demo.sandbox import Sandbox
from cdmd.cli.demo.television import Readings, Television
from cdmd.cli.demo.telling import Telling, took
from cdmd.cli.running import FAILED, INTERRUPTED
from cdmd.errors import CdmdError

_READINGS: Final = 120
_KILLED_AFTER: Final = 50
_EVERY: Final = 3.0


@click.command()
@click.option("--once", is_flag=True, help="End by itself; exit status 0 only if everything arrived.")
@click.option(
    "--cluster", is_flag=True, help="Three nodes, one killed; needs nats-server and PostgreSQL (4 where they are not)."
)
def demo(once: bool, cluster: bool) -> int:
    r"""A sandbox on loopback that shows the whole flow and needs nothing else.

    \b
    cdmd demo
    cdmd demo --once
    cdmd demo --cluster --once
    """
    telling = Telling.for_terminal(os.environ)
    before = signal.signal(signal.SIGTERM, _interrupt)
    television = Television()
    try:
        if cluster:
            return play(telling, once=once)
        with Sandbox(all_parts(television), telling) as sandbox:
            return _run(sandbox, television, once=once)
    except KeyboardInterrupt:
        telling.heading("Stopped; nothing is left of it.")
        return INTERRUPTED if once else 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(sandbox: Sandbox, television: Television, *, once: bool) -> int:
    _introduce(sandbox)
    for part in sandbox.parts:
        part.play(sandbox)
    _redelivered(sandbox)
    _crash(sandbox, television)
    lacking = missing(sandbox.parts, sandbox.customer(), sandbox.status())
    for sentence in lacking:
        sandbox.telling.bad(f"missing: {sentence}")
    if not lacking:
        sandbox.telling.good("Everything that was acknowledged is there, each event once.")
    if not once:
        _stay(sandbox, television)
    return FAILED if lacking else 0


def _introduce(sandbox: Sandbox) -> None:
    telling, process = sandbox.telling, sandbox.daemon.process
    telling.heading("cdmd demo: a real daemon and its neighbours, all on loopback")
    telling.fact("daemon", f"{sandbox.url}, process {process.pid if process else '-'}, everything in {sandbox.folder}")
    for part in sandbox.parts:
        for name, text in part.facts.items():
            telling.fact(name, text)


def _redelivered(sandbox: Sandbox) -> None:
    again = list(sandbox.delivered)
    sandbox.telling.scene(f"All {len(again)} deliveries so far come again, as from senders that saw no answer")
    before = sandbox.status()["totals"]["events"]
    for delivery in again:
        sandbox.deliver(delivery)
    sandbox.settle()
    sandbox.telling.fact("answered", "200 each: a repeat is accepted and has no second effect")
    sandbox.telling.fact("events", f"{before} before, {sandbox.status()['totals']['events']} after")


def _crash(sandbox: Sandbox, television: Television) -> None:
    telling, more = sandbox.telling, _READINGS - television.sent
    telling.scene(f"The television sends {more} more readings, and in their midst the daemon is killed (kill -9)")
    readings = Readings(television, sandbox, count=more)
    readings.start()
    readings.wait_for(_KILLED_AFTER)
    told = readings.acknowledged
    seconds = sandbox.crash_and_restart()
    process = sandbox.daemon.process
    telling.fact("killed", f"after {told} acknowledgements; ready again after {took(seconds)}")
    telling.fact("daemon", f"process {process.pid if process else '-'}, the same address")
    readings.wait_for(more)
    sandbox.settle()
    customer = sandbox.customer()
    stored = int((customer or {"indicators": {}})["indicators"].get("tv_readings", 0))
    telling.fact("acknowledged", f"{television.sent} readings; what the crash cut off was sent again by the television")
    telling.fact("stored", f"{stored} readings" + (": none lost, none twice" if stored == _READINGS else ""))
    telling.known("known now", customer)


def _stay(sandbox: Sandbox, television: Television) -> None:
    """Keep it running, with a reading every few seconds, until Ctrl-C."""
    look = f"{_cdmctl()} --socket {shlex.quote(str(sandbox.daemon.socket))}"
    sandbox.telling.heading(f"It goes on, with a reading every {_EVERY:g} seconds. Look for yourself, from another terminal:")
    for command in (
        f"{look} status",
        f"{look} profile show email:{EMAIL}",
        f"{look} events show reading-1 --reveal",
        f"{look} tail --reveal",
        f"{look} plugins",
        _curl(sandbox),
    ):
        click.echo(f"   {command}")
    sandbox.telling.heading("Ctrl-C ends it.")
    pause = threading.Event()
    while not pause.wait(_EVERY):
        if sandbox.daemon.process is None or sandbox.daemon.process.poll() is not None:
            raise CdmdError("the daemon ended by itself: run the demo again")
        sandbox.deliver(television.next_reading())


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
