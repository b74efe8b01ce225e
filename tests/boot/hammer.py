"""Sends events one after the other, each on a new connection, until stdin closes; then says what became of them.

``python hammer.py URL``: prints ``begun`` once the first was acknowledged, and at the end a JSON document with how many were
``sent``, ``acknowledged`` and ``refused`` (no connection), the other ``answers``, and how long (seconds) the slowest took.
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request


def say(text: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(url: str) -> None:
    """Until stdin closes."""
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    told, answers, slowest = {"sent": 0, "acknowledged": 0, "refused": 0}, dict[str, int](), 0.0
    while not done.is_set():
        began = time.monotonic()
        document = {"id": f"hammer-{told['sent']}", "type": "hammer", "identifiers": {"customer_no": str(told["sent"] % 50)}}
        request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
        told["sent"] += 1
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                told["acknowledged"] += answer.status == 200
        except urllib.error.HTTPError as error:
            answers[str(error.code)] = answers.get(str(error.code), 0) + 1
        except urllib.error.URLError as error:
            told["refused"] += isinstance(error.reason, ConnectionRefusedError)
            answers[repr(error.reason)] = answers.get(repr(error.reason), 0) + 1
        except OSError as error:
            answers[repr(error)] = answers.get(repr(error), 0) + 1
        slowest = max(slowest, time.monotonic() - began)
        if told["acknowledged"] == 1 and not answers:
            say("begun")
        done.wait(0.005)
    say(json.dumps({**told, "answers": answers, "slowest": round(slowest, 2)}))


if __name__ == "__main__":
    main(sys.argv[1])
