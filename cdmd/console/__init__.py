"""The web console: pages for people who would rather look, made from what the control API answers to the same caller."""
