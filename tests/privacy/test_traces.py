"""What is left of other people's profiles once what came with events that named somebody is taken out."""

from cdmd.models import IndicatorState, Merge, Micros, ProfileKey, ProfileState, Seq, TraitState
from cdmd.privacy.traces import Traces

TRACES = Traces({Seq(2)}, lambda text: "joe" in text or text == "+4670", digests=[7])


def said(value: object, seq: int) -> TraitState:
    return TraitState(value, 5, seq, "shop")


def state() -> ProfileState:
    return ProfileState(
        "p",
        0,
        9,
        traits={
            "mail": said("joe@example.com", 2),
            "own": said("joe@example.com", 3),
            "joe": said(1, 2),
            "who": said({"mail": "joe@example.com", "n": 1}, 2),
            "city": said(None, 2),
        },
        indicators={
            "last": IndicatorState(7, 2, first=said("shop", 2), last=said("joe@example.com", 2)),
            "windowed": IndicatorState(7, parts={4: IndicatorState(0, 1, first=said("joe", 2)), 5: IndicatorState(0, 1)}),
            "orders": IndicatorState(7, 3),
            "different": IndicatorState(7, 3, values=(6, 7, 8)),
            "number": IndicatorState(7, 1, last=said(4670, 2)),
        },
    )


def test_of_what_came_with_such_an_event_only_what_says_who_it_is_goes() -> None:
    left = TRACES.left_of(state())
    assert left.traits == {"own": said("joe@example.com", 3), "who": said({"n": 1}, 2), "city": said(None, 2)}
    assert left.indicators == {
        "last": IndicatorState(7, 2, first=said("shop", 2)),
        "windowed": IndicatorState(7, parts={4: IndicatorState(0, 1), 5: IndicatorState(0, 1)}),
        "orders": IndicatorState(7, 3),
        "different": IndicatorState(7, 3, values=(6, 8)),
        "number": IndicatorState(7, 1),
    }
    assert TRACES.left_of(left) is left


def test_of_a_merge_the_same_goes_out_of_whoever_was_merged() -> None:
    merge = Merge(
        seq=Seq(4), time=Micros(0), winner=ProfileKey(1), loser=ProfileKey(2), identifiers=[], rule="merged", before=state()
    )  # fmt: skip
    left = TRACES.left_of_merge(merge)
    assert left.before == TRACES.left_of(state())
    assert TRACES.left_of_merge(left) is left
