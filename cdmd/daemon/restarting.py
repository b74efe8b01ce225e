"""Which changed settings take effect only after a restart of the daemon."""

from typing import Final

from cdmd.config.schema import Config

_TABLES: Final = ("http", "opentelemetry", "network", "queue", "store", "parked")
_AT_ONCE: Final = ("keep", "reserve")


def needs_restart(began_with: Config, now: Config) -> list[str]:
    """A sentence for each key that differs from what the daemon started with and is read only then."""
    keys = [
        f"{table}.{field}"
        for table in _TABLES
        for field in getattr(now, table).__struct_fields__
        if getattr(getattr(now, table), field) != getattr(getattr(began_with, table), field)
    ]
    keys += [
        f"journal.{field}"
        for field in now.journal.__struct_fields__
        if field not in _AT_ONCE and getattr(now.journal, field) != getattr(began_with.journal, field)
    ]
    places = (
        ("daemon.state_dir", began_with.state_dir, now.state_dir),
        ("control.socket", began_with.control_socket, now.control_socket),
    )
    keys += [key for key, then, today in places if then != today]
    names = sorted({*began_with.plugins, *now.plugins})
    keys += [f"plugins.{name}" for name in names if began_with.plugins.get(name) != now.plugins.get(name)]
    return [f"{key} has changed; that takes effect after a restart of the daemon" for key in keys]
