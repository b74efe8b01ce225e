"""A tap of the tests' own that does what its configuration says: step by step, well or badly."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

STREAMS = ("contacts", "orders")


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")


def catalog():
    fields = {"type": "object", "properties": {"n": {"type": "integer"}, "note": {"type": "string"}}}
    marks = [
        {"breadcrumb": [], "metadata": {}},
        {"breadcrumb": ["properties", "n"], "metadata": {"inclusion": "automatic"}},
        {"breadcrumb": ["properties", "note"], "metadata": {"inclusion": "available"}},
    ]
    return {"streams": [{"tap_stream_id": name, "stream": name, "schema": fields, "metadata": marks} for name in STREAMS]}


def numbers(position, *, to, every, pad, pause, told=None):
    """Records 1, 2, 3 ... from behind the position, now and then a STATE; ``told`` is where it says how far it is."""
    waiting = threading.Event()
    for n in range(position + 1, to + 1):
        say(type="RECORD", stream="contacts", record={"n": n, "note": "." * pad})
        if n % every == 0 or n == to:
            say(type="STATE", value={"n": n})
        if pause:
            sys.stdout.flush()
            waiting.wait(pause)
        if told:
            with Path(told).open("a") as file:
                file.write(f"{n}\n")


def flood(report, *, count, size):
    """Write as fast as one is read, and report how many bytes that were."""
    line, written = json.dumps({"type": "RECORD", "stream": "contacts", "record": {"n": 1, "note": "." * size}}) + "\n", 0
    for _ in range(count):
        written += os.write(1, line.encode())
        Path(report).write_text(str(written))


def hang(report):
    """Hear no SIGTERM, have a child that hears none either, and wait: a minute, should nobody end them."""
    signal.alarm(60)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.alarm(60); signal.signal(15, signal.SIG_IGN); signal.pause()"]
    )
    Path(f"{report}.new").write_text(f"{os.getpid()} {child.pid}")
    Path(f"{report}.new").rename(report)
    signal.pause()


def step(word, *rest):
    match word:
        case "say":
            say(**rest[0])
        case "raw":
            sys.stdout.write(rest[0])
        case "log":
            sys.stderr.write(rest[0] + "\n")
        case "endless":
            while True:
                sys.stdout.write("." * 2**16)
        case "take":
            bytearray(rest[0])
        case "exit":
            sys.stdout.flush()
            os._exit(rest[0])
        case "hang":
            sys.stdout.flush()
            hang(rest[0])
        case "flood":
            flood(rest[0], **rest[1])


def main():
    parser = argparse.ArgumentParser()
    for option in ("--config", "--catalog", "--properties", "--state"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--discover", action="store_true")
    given = parser.parse_args()
    config = json.loads(given.config.read_text())
    if given.discover:
        sys.stdout.write(json.dumps(catalog(), indent=1))
        return
    state = json.loads(given.state.read_text()) if given.state else None
    if "seen" in config:
        seen = {"config": config, "mode": given.config.stat().st_mode & 0o777, "state": state, "environment": dict(os.environ)}
        chosen = given.catalog or given.properties
        seen |= {"catalog": json.loads(chosen.read_text()) if chosen else None, "arguments": sys.argv[1:]}
        Path(config["seen"]).write_text(json.dumps(seen))
    if "starts" in config:
        with Path(config["starts"]).open("a") as file:
            file.write(f"{(state or {}).get('n', 0)}\n")
    for one in config.get("steps", ()):
        step(*one)
    if "numbers" in config:
        numbers((state or {}).get("n", 0), **config["numbers"])


main()
