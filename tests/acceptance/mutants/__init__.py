"""Sabotaged variants, each a plugin that only these tests load into the daemon's process.

A test that none of them fails would be empty.
"""
