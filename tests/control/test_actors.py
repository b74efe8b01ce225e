import pytest

from cdmd.config.schema import ControlSettings
from cdmd.control.actors import Actor, Peer, Role, actor_of, permit, system_lookups
from cdmd.errors import NotPermitted
from tests.control.doubles import ADMIN, ADMINS_GROUP, DAEMON, READER, READERS_GROUP, lookups


def role(uid: int, gid: int = 100, groups: tuple[int, ...] = (), control: ControlSettings | None = None) -> Role:
    return actor_of(Peer(1, uid, gid, groups), control or ControlSettings(), own_uid=DAEMON, lookups=lookups()).role


def test_root_and_the_daemons_own_user_are_admins_whatever_is_configured() -> None:
    nobody = ControlSettings(admins=(), readers=())
    assert role(0, control=nobody) is Role.ADMIN
    assert role(DAEMON, control=nobody) is Role.ADMIN


def test_a_group_counts_as_primary_and_as_supplementary() -> None:
    assert role(7, groups=(1, ADMINS_GROUP)) is Role.ADMIN
    assert role(7, gid=ADMINS_GROUP) is Role.ADMIN
    assert role(7, groups=(READERS_GROUP,)) is Role.READER


def test_a_user_is_listed_by_name_or_by_number() -> None:
    control = ControlSettings(admins=("ada", "4444"), readers=("rea",))
    assert role(ADMIN, control=control) is Role.ADMIN
    assert role(4444, control=control) is Role.ADMIN
    assert role(READER, control=control) is Role.READER


def test_who_is_in_both_lists_is_an_admin() -> None:
    assert role(7, groups=(READERS_GROUP, ADMINS_GROUP)) is Role.ADMIN


def test_one_who_is_in_neither_list_may_nothing() -> None:
    assert role(7) is Role.NONE


def test_a_group_or_user_that_does_not_exist_lets_nobody_in() -> None:
    assert role(7, control=ControlSettings(admins=("@nowhere", "None", ""), readers=("@", "@None"))) is Role.NONE


def test_an_actor_without_a_name_is_shown_by_number() -> None:
    assert actor_of(Peer(1, 77, 1, ()), ControlSettings(), own_uid=1, lookups=lookups()).user == "77"


def test_an_admin_may_all_and_a_reader_may_read() -> None:
    admin, reader, none = (Actor(1, "u", each) for each in (Role.ADMIN, Role.READER, Role.NONE))
    permit(admin, Role.ADMIN)
    permit(admin, Role.READER)
    permit(reader, Role.READER)
    for actor, wanted in ((reader, Role.ADMIN), (none, Role.READER), (none, Role.ADMIN)):
        with pytest.raises(NotPermitted, match="control"):
            permit(actor, wanted)


def test_the_machines_own_databases_are_asked() -> None:
    found = system_lookups()
    assert found.user_name(0) == "root"
    assert found.group_id("root") == 0
    assert found.user_name(2**31 - 7) is None
    assert found.group_id("no such group") is None
