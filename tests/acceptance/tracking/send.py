"""segment-analytics-python, or rudder-sdk-python with the same interface, as a program of its own.

Run: python send.py {segment|rudderstack} URL WRITE_KEY USER EVENTS
"""

import importlib
import sys
import threading

library, url, key, user, count = sys.argv[1:]
analytics = importlib.import_module(f"{library}.analytics")
failed, pause = [], threading.Event()
client = analytics.Client(
    key, host=url, upload_size=20, upload_interval=0.2, timeout=10, on_error=lambda error, _batch: failed.append(error)
)
client.identify(user, {"email": f"{user}@example.com", "score": float("nan")})
client.page(user, "Docs", "Home", {"url": "https://shop.example/"})
client.screen(user, "Docs", "Home")
client.group(user, "acme", {"employees": float("inf")})
client.alias("before", user)
for number in range(int(count)):
    client.track(user, "Order", {"number": number, "total": float("nan")})
    pause.wait(0.002)
client.flush()
client.join()
sys.exit(f"not delivered: {failed}" if failed else 0)
