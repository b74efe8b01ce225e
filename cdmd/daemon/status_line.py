"""The line that ``systemctl status cdmd`` shows: whether all is well, and who is not."""

from typing import Final

from cdmd.daemon.parts import Parts
from cdmd.kit.measures import several

EVERY: Final = 5.0
_WELL: Final = frozenset(("running", "paused", "starting"))
_MOST_NAMES: Final = 5


def status_line(parts: Parts) -> str:
    """The daemon's state, how many connectors there are, and which of them are not well."""
    names = [live.config.name for live in parts.connectors]
    unwell = [f"{name} {state}" for name in names if (state := parts.supervisor.state(name).state) not in _WELL]
    told = [parts.state, several(len(names), "connectors"), *unwell[:_MOST_NAMES]]
    if len(unwell) > _MOST_NAMES:
        told.append(f"and {len(unwell) - _MOST_NAMES} more")
    ready, problems = parts.readiness()
    return ", ".join(told) if ready or parts.state != "running" else f"{', '.join(told)}; {'; '.join(problems)}"


async def keep_status_line(parts: Parts, said: str) -> None:
    """Tell systemd the line whenever it is not what was ``said`` last; once the stop begins the line is no longer ours."""
    while parts.state == "running":
        line = status_line(parts)
        if line != said and parts.systemd.status(line):
            said = line
        await parts.clock.sleep(EVERY)
