"""Makes a second daemon of the one that imports it."""

import os

os.fork()
