"""``cdmd demo``: a sandbox on loopback whose neighbours are real, each in a module of its own and one line of ``parts``."""
