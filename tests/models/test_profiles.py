import pytest

from cdmd.models import IdentifierState, ProfileKey, Profiles, ProfileState

ONE, TWO, THREE = ProfileKey(1), ProfileKey(2), ProfileKey(3)


def state(number: int, **more: int) -> ProfileState:
    return ProfileState(f"P{number}", number, number, [IdentifierState("email", f"{number}@x", 1, 1, "shop")], **more)


def held() -> Profiles:
    profiles = Profiles({ONE: state(1), TWO: state(2), THREE: state(3, merged_into=1)})
    profiles.pack(ONE)
    return profiles


def test_a_profile_of_which_only_the_body_is_kept_is_as_it_was_and_another_one_each_time():
    profiles = held()
    assert (profiles[ONE], profiles[TWO]) == (state(1), state(2))
    assert profiles[ONE] is not profiles[ONE]
    assert profiles == {ONE: state(1), TWO: state(2), THREE: state(3, merged_into=1)}
    assert (len(profiles), sorted(profiles), ONE in profiles, ProfileKey(4) in profiles) == (3, [1, 2, 3], True, False)
    with pytest.raises(KeyError):
        profiles[ProfileKey(4)]


def test_a_profile_that_is_set_or_goes_has_no_body_any_more():
    profiles = held()
    profiles[ONE] = state(9)
    assert (profiles[ONE], profiles.bodies) == (state(9), {})
    profiles = held()
    del profiles[ONE], profiles[TWO]
    assert dict(profiles) == {THREE: state(3, merged_into=1)}
    with pytest.raises(KeyError):
        del profiles[ONE]


def test_what_is_laid_over_counts_whether_it_is_a_body_or_not():
    below, over = held(), Profiles({ONE: state(5), TWO: state(6)})
    over.pack(TWO)
    below.lay(over)
    assert below == {ONE: state(5), TWO: state(6), THREE: state(3, merged_into=1)}
    assert (list(below.bodies), sorted(below.states)) == ([TWO], [ONE, THREE])


def test_those_that_are_merged_are_told_from_the_others():
    profiles = held()
    assert [profiles.merged_into(key) for key in (ONE, TWO, THREE)] == [None, None, ONE]
    assert profiles.living() == {ONE, TWO}
    assert profiles.among({ONE, THREE, ProfileKey(4)}) == {ONE: state(1), THREE: state(3, merged_into=1)}
    with pytest.raises(KeyError):
        profiles.merged_into(ProfileKey(4))
