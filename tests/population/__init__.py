"""People with a known truth: a seeded generator, and how well their events are brought together."""
