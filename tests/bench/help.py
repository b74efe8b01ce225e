"""How long the commands' help takes, best of several, against the limit of 150 ms: ``python -m tests.bench.help``."""

import subprocess
import sys
import time

LIMIT = 0.150
ROUNDS = 9


def best(*command: str) -> float:
    """The quickest of several whole processes, in seconds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    """Print a line for each command, and for Python alone."""
    print(f"{'bare Python':32} {best('-c', 'pass') * 1000:6.0f} ms")
    for name, module in (("cdmctl", "cdmd.cli.control_commands"), ("cdmd", "cdmd")):
        taken = best("-m", module, "--help")
        print(f"{name + ' --help':32} {taken * 1000:6.0f} ms  {taken / LIMIT:.2f} of the limit")


if __name__ == "__main__":
    main()
