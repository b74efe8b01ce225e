"""``python -m cdmd``."""

import sys

from cdmd.cli.daemon_commands import main

if __name__ == "__main__":
    sys.exit(main())
