"""What may be kept of whom, and for how long: suppression, erasure, retention, purposes. Decisions only; all of it is pure.

Not here: SQL (``cdmd.store``), when it is done (``cdmd.daemon``), and who may ask for it (``cdmd.control``).
"""
