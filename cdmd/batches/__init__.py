"""What a batch of events goes through between journal and store: calls, decisions, and what may be watched of it.

Not here: the order of the steps, which is the page ``cdmd.pipeline``; and each step's own rules (identity, profiles).
"""
