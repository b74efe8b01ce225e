"""What it costs to verify a delivery, preset by preset, against HMAC-SHA256 over the body alone (`github`).

Run: python -m tests.bench.presets [--long]. A body of 600 bytes signed as its sender signs (the senders of the presets' tests),
one secret, in one thread; the lowest of several rounds, taken in turns so that what disturbs the machine disturbs all. A preset
that computes a digest with the secret has to stay within the budget of the intake; public keys cost what arithmetic costs.
"""

import time
from collections.abc import Callable

from cdmd.kit.presets import preset
from cdmd.kit.schemes import PUBLIC_KEYS
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Verified, Verifier
from tests.bench.figures import Report, options
from tests.kit.test_presets import BASE, NOW, SENDERS

YARDSTICK = "github"
BODY = b'{"type":"order.paid","text":"%s"}' % (b"x" * 566)
MOST = 20.0
"""Microseconds that a preset with a shared secret may take beyond the yardstick, of the 140 that an event may cost."""


def verification(name: str) -> Callable[[], object]:
    """One delivery of the preset's sender, ready to be verified again and again."""
    make, key = SENDERS[name]
    sent = make(BODY, NOW)
    headers = [(header.lower(), value) for header, value in sent.headers.items()]
    verifier = Verifier(preset(name), [Secret(key.encode(), reference="env:KEY")])

    def verify() -> object:
        return verifier.verify(headers, sent.body, method=sent.method, now=NOW, target=sent.target, base=BASE)

    assert verify() == Verified(0)
    return verify


def microseconds(verify: Callable[[], object], *, times: int) -> float:
    """Each of ``times`` calls, on average."""
    began = time.perf_counter()
    for _ in range(times):
        verify()
    return (time.perf_counter() - began) / times * 1e6


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("presets", long_help="ten times as many verifications").parse_args(arguments)
    times = 2_000 if given.long else 200
    calls = {name: verification(name) for name in SENDERS}
    costs = {name: min(microseconds(calls[name], times=times) for _ in range(2)) for name in calls}
    for _ in range(8):
        costs = {name: min(cost, microseconds(calls[name], times=times)) for name, cost in costs.items()}
    plain = costs[YARDSTICK]
    report = Report(f"Verification of a delivery of {len(BODY)} bytes, {YARDSTICK} takes {plain:.1f} µs")
    for name in sorted(costs, key=lambda name: (preset(name).algorithm in PUBLIC_KEYS, costs[name])):
        if preset(name).algorithm in PUBLIC_KEYS:
            report.note(f"{name:<24} {costs[name]:8.1f} µs, {costs[name] / plain:5.1f} times: {preset(name).algorithm}")
        else:
            report.line(f"{name} ({costs[name] / plain:.1f} times)", costs[name], "µs", at_most=plain + MOST)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
