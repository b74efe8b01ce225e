"""Where things lie: the configuration file, the state directory, the control socket.

Together with ``secrets`` and ``loading`` the only place that reads the environment, as a mapping that is handed in. Nothing is
created here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEFAULT_FILE: Final = Path("/etc/cdmd/cdmd.toml")
_LONGEST_SOCKET: Final = 107  # sun_path of unix(7) holds 108 bytes with the closing NUL


def config_file(option: Path | None, environment: Mapping[str, str], *, default: Path = DEFAULT_FILE) -> tuple[Path, bool]:
    """The configuration file, and whether it was asked for (then it has to exist)."""
    if option is not None:
        return option, True
    named = environment.get("CDMD_CONFIG")
    return (Path(named), True) if named else (default, False)


def state_directory(configured: str | None, environment: Mapping[str, str]) -> Path:
    """The state directory; raises ValueError when nothing names one."""
    if configured:
        return _home(configured, environment)
    # systemd lists several directories with colons; the unit's first one is ours.
    given = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    shared = environment.get("XDG_STATE_HOME", "")
    if shared.startswith("/"):
        return Path(shared, "cdmd")
    home = environment.get("HOME")
    if home:
        return Path(home, ".local/state/cdmd")
    raise ValueError("no state directory: neither this key nor STATE_DIRECTORY, XDG_STATE_HOME or HOME is set")


def control_socket(configured: str | None, environment: Mapping[str, str], *, state_dir: Path) -> Path:
    """The control socket's path; raises ValueError when it is longer than a socket's name may be."""
    path = _socket(configured, environment, state_dir)
    if len(bytes(path)) > _LONGEST_SOCKET:
        raise ValueError(f"the socket's path {path} is longer than {_LONGEST_SOCKET} bytes")
    return path


def client_socket(option: str | None, environment: Mapping[str, str]) -> Path:
    """Where ``cdmctl`` looks: its option, ``$CDMD_SOCKET``, then where the daemon puts it without a configuration."""
    named = option or environment.get("CDMD_SOCKET")
    if named:
        return Path(named)
    return control_socket(None, environment, state_dir=state_directory(None, environment))


def _socket(configured: str | None, environment: Mapping[str, str], state_dir: Path) -> Path:
    if configured:
        return _home(configured, environment)
    given = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given, "control.sock")
    shared = environment.get("XDG_RUNTIME_DIR", "")
    return Path(shared, "cdmd/control.sock") if shared.startswith("/") else state_dir / "control.sock"


def _home(configured: str, environment: Mapping[str, str]) -> Path:
    home = environment.get("HOME")
    if home and configured.startswith("~/"):
        return Path(home, configured[2:])
    return Path(configured)
