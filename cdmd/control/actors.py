"""Who asks over the control socket, and what that one may do.

The socket's file mode decides who connects; the peer's user and groups, as the kernel tells them, decide the role. A process
id never decides anything. The role is checked inside the commands, so that no other way in can forget it.
"""

import grp
import pwd
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from cdmd.config.schema import ControlSettings
from cdmd.errors import NotPermitted


class Role(StrEnum):
    """What an actor may do: nothing, look (never at personal data), or everything."""

    NONE = "none"
    READER = "reader"
    ADMIN = "admin"


class Peer(NamedTuple):
    """What the kernel says of the other end: SO_PEERCRED and SO_PEERGROUPS."""

    pid: int
    uid: int
    gid: int
    groups: Sequence[int]


class Actor(msgspec.Struct, frozen=True):
    """The one who asks."""

    uid: int
    user: str
    role: Role


class Lookups(msgspec.Struct, frozen=True):
    """The user and group databases: the name of a uid, and the gid of a group's name; None where there is none."""

    user_name: Callable[[int], str | None]
    group_id: Callable[[str], int | None]


def system_lookups() -> Lookups:
    """The machine's own databases; they may ask a directory server, so call them off the event loop."""
    return Lookups(user_name=_user_name, group_id=_group_id)


def actor_of(peer: Peer, control: ControlSettings, *, own_uid: int, lookups: Lookups) -> Actor:
    """The peer with its role: root and the daemon's own user are admins, others as ``control`` lists them."""
    user = lookups.user_name(peer.uid)
    gids = {peer.gid, *peer.groups}

    def listed(names: Sequence[str]) -> bool:
        return any(_fits(name, user=user, uid=peer.uid, gids=gids, lookups=lookups) for name in names)

    role = Role.NONE
    if peer.uid in {0, own_uid} or listed(control.admins):
        role = Role.ADMIN
    elif listed(control.readers):
        role = Role.READER
    return Actor(uid=peer.uid, user=user or str(peer.uid), role=role)


def permit(actor: Actor, role: Role) -> None:
    """Let the actor pass if its role is at least ``role``; raises ``NotPermitted`` otherwise."""
    if actor.role is Role.ADMIN or (actor.role is Role.READER and role is Role.READER):
        return
    wanted = "control.admins" if role is Role.ADMIN else "control.readers or control.admins"
    raise NotPermitted(f"{actor.user} may not do this: ask to be listed in {wanted}, or act as one who is")


def _fits(name: str, *, user: str | None, uid: int, gids: set[int], lookups: Lookups) -> bool:
    if name.startswith("@"):
        return lookups.group_id(name[1:]) in gids
    return name in {user, str(uid)}


def _user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
