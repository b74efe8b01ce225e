"""Faults put in on purpose: a daemon that loads one as a plugin has to be found out."""
