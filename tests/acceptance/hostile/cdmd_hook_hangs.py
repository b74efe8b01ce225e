"""Never ends registering."""

import threading

import cdmd


@cdmd.hookimpl
def cdmd_connectors():
    threading.Event().wait()
