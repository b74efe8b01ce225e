import asyncio
import gc
import threading
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from cdmd.contracts import Extension
from cdmd.errors import Drop, Failed, PluginFault, Reject, RetryLater
from cdmd.extensions import Extensions, Limits, Registered, Visit, extension
from cdmd.extensions.breaker import Breaker, back_off
from cdmd.extensions.driving import DeadlinePassed, Driven
from cdmd.extensions.performing import NotCalled
from cdmd.models import Apply, Bury, Discard, Hold, show_time, to_micros
from tests.batches.doubles import START, ManualClock, event

pytestmark = pytest.mark.anyio


def registry(*functions, limits=None, plugin="acme", clock=None) -> Extensions:
    declared = [one if isinstance(one, Extension) else extension(on="*", timeout=30)(one) for one in functions]
    registered = [Registered(plugin, one, object()) for one in declared]
    return Extensions(registered, clock=clock or ManualClock(), limits=limits, chance=lambda: 0.0)


async def outcome_of(function, *, on_failure="hold", timeout=30, of=None):
    async with registry(extension(on="*", timeout=timeout, on_failure=on_failure)(function)) as extensions:
        return await extensions.run(of or event())


async def adds_terms(event, context):
    return event.enriched(terms="2 years")


async def raises(event, context):
    raise KeyError("joe@example.com")


async def test_an_extension_adds_to_the_event_and_the_trace_says_what():
    after, outcome, trace = await outcome_of(adds_terms)
    assert (after.data, outcome) == ({"terms": "2 years"}, Apply())
    assert [(one.extension, one.outcome, one.added) for one in trace] == [("acme.adds_terms", "extended", ("terms",))]


async def test_none_leaves_the_event_as_it_is():
    async def looks(event, context):
        return None

    before = event(data={"a": 1})
    after, outcome, trace = await outcome_of(looks, of=before)
    assert (after, outcome, trace[0].outcome) == (before, Apply(), "unchanged")


async def test_what_an_extension_does_to_its_own_copy_in_place_does_not_reach_the_event():
    async def scribbles(event, context):
        event.data["scribble"] = object()

    after, outcome, _ = await outcome_of(scribbles)
    assert (after.data, outcome) == ({}, Apply())


async def test_an_event_nobody_listens_to_costs_no_work():
    called = []

    @extension(on=["tv.*", "radio"])
    async def listens(event, context):
        called.append(event.type)

    async with registry(listens) as extensions:
        for kind in ("order.paid", "radio.on", "tv.runtime.daily", "radio"):
            await extensions.run(event(type=kind))
        assert extensions.plan("order.paid") == ()
    assert called == ["tv.runtime.daily", "radio"]


async def test_remembered_plans_are_bounded():
    async with registry(adds_terms) as extensions:
        for number in range(10_050):
            extensions.plan(f"type.{number}")
        assert len(extensions._plans) <= 10_000


async def test_extensions_are_called_in_order_of_registration_and_see_what_came_before():
    async def first(event, context):
        return event.enriched(seen=["first"])

    async def second(event, context):
        await anyio.lowlevel.checkpoint()
        return event.enriched(seen=[*event.data["seen"], "second"])

    async with registry(first, second) as extensions:
        after, _, trace = await extensions.run(event())
    assert after.data["seen"] == ["first", "second"]
    assert len(trace) == 2


async def test_a_held_event_goes_on_from_the_extension_it_waited_for():
    called = []

    async def first(event, context):
        called.append("first")

    async def second(event, context):
        called.append("second")

    async with registry(first, second) as extensions:
        await extensions.run(event(), extension="acme.second", attempts=3)
        assert called == ["second"]
        await extensions.run(event(), extension="gone.away", attempts=3)
    assert called == ["second", "first", "second"]


async def test_drop_filters_retry_later_holds_and_reject_buries():
    async def drop(event, context):
        raise Drop("not ours")

    async def later(event, context):
        raise RetryLater(60, "closed at night")

    async def reject(event, context):
        raise Reject("no such serial")

    assert (await outcome_of(drop))[1] == Discard("not ours")
    held = (await outcome_of(later))[1]
    assert held == Hold("acme.later", to_micros(START + timedelta(seconds=60)), 0, "closed at night")
    buried = (await outcome_of(reject))[1]
    assert isinstance(buried, Bury)
    assert (buried.fault.code, buried.fault.message) == ("rejected", "acme.reject: no such serial")


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "soon", None, True])
async def test_retry_later_without_a_number_of_seconds_is_a_failure(seconds):
    async def later(event, context):
        raise RetryLater(seconds)

    outcome = (await outcome_of(later, on_failure="reject"))[1]
    assert isinstance(outcome, Bury)


@pytest.mark.parametrize(
    ("seconds", "waits"),
    [
        pytest.param(10**400, 366 * 86_400, id="huge"),
        pytest.param(-(10**400), 0.1, id="negative"),
        pytest.param(1e300, 366 * 86_400, id="float"),
    ],
)
async def test_no_number_of_seconds_is_too_large_or_too_small(seconds, waits):
    async def later(event, context):
        raise RetryLater(seconds)

    outcome = (await outcome_of(later))[1]
    assert outcome == Hold("acme.later", to_micros(START + timedelta(seconds=waits)), 0, RetryLater(1).reason)


async def test_a_failure_follows_what_the_extension_says():
    after, outcome, trace = await outcome_of(raises, on_failure="store")
    assert (after, outcome) == (event(), Apply())
    assert trace[0].outcome.startswith("failed: KeyError at tests/extensions/test_extensions.py:")
    assert isinstance((await outcome_of(raises, on_failure="reject"))[1], Bury)
    held = (await outcome_of(raises, on_failure="hold"))[1]
    assert isinstance(held, Hold)
    assert held.attempts == 1


async def test_what_is_told_of_a_failure_holds_no_value_of_the_event():
    async with registry(raises) as extensions:
        _, outcome, trace = await extensions.run(event())
        assert "joe" not in f"{outcome}{trace}{extensions.states()}"


@pytest.mark.parametrize("junk", [42, {"data": 1}, "event", object(), [event()]])
async def test_anything_but_an_event_or_none_is_a_failure(junk):
    async def returns_junk(event, context):
        return junk

    outcome = (await outcome_of(returns_junk, on_failure="reject"))[1]
    assert isinstance(outcome, Bury)
    assert type(junk).__name__ in outcome.fault.message


@pytest.mark.parametrize(
    "changes", [{"id": "2"}, {"source": "other"}, {"type": "x"}, {"received": START + timedelta(seconds=1)}]
)
async def test_an_extension_may_not_change_what_names_the_event(changes):
    import msgspec

    async def renames(event, context):
        return msgspec.structs.replace(event, **changes)

    after, outcome, _ = await outcome_of(renames, on_failure="reject")
    assert after == event()
    assert isinstance(outcome, Bury)
    assert f"changed the event's {next(iter(changes))}" in outcome.fault.message


@pytest.mark.parametrize(
    "value", [object(), 2**70, "\ud800", {1, 2}.__iter__(), {("a", "b"): 1}, float("inf"), [{"n": float("nan")}]]
)
async def test_an_event_that_cannot_be_stored_is_a_failure(value):
    async def breaks(event, context):
        return event.enriched(value=value)

    outcome = (await outcome_of(breaks, on_failure="reject"))[1]
    assert isinstance(outcome, Bury)


async def test_a_time_without_a_zone_is_the_extensions_failure():
    import msgspec

    async def dates(event, context):
        return msgspec.structs.replace(event, time=START.replace(tzinfo=None))

    outcome = (await outcome_of(dates, on_failure="reject"))[1]
    assert isinstance(outcome, Bury)
    assert "returned an event whose time has no zone" in outcome.fault.message


async def test_an_event_that_grew_beyond_the_bound_is_a_failure():
    async def grows(event, context):
        return event.enriched(blob="x" * 1000)

    async with registry(extension(on="*", on_failure="reject")(grows), limits=Limits(event_bytes=500)) as extensions:
        outcome = (await extensions.run(event()))[1]
    assert isinstance(outcome, Bury)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException])
@pytest.mark.parametrize("suspends", [False, True])
async def test_what_no_function_should_raise_harms_only_its_extension(error, suspends):
    async def hostile(event, context):
        if suspends:
            await anyio.lowlevel.checkpoint()
        raise error

    async with registry(hostile, extension(on="*")(adds_terms)) as extensions:
        outcome = (await extensions.run(event()))[1]
        assert isinstance(outcome, Hold)
        assert error.__name__ in outcome.reason
        assert extensions.states()[0].failures == 1


async def test_an_extension_that_hangs_is_cancelled_at_its_deadline():
    cancelled = anyio.Event()

    async def hangs(event, context):
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    outcome = (await outcome_of(hangs, timeout=0.02))[1]
    assert isinstance(outcome, Hold)
    assert "no answer within 0.02 s" in outcome.reason
    assert cancelled.is_set()


async def test_a_slow_extension_within_its_deadline_succeeds():
    async def slow(event, context):
        await anyio.sleep(0.05)
        return event.enriched(slow=True)

    assert (await outcome_of(slow, timeout=5.0))[0].data == {"slow": True}


async def test_an_answer_after_the_deadline_does_not_count():
    async def late(event, context):
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return event.enriched(late=True)

    after, outcome, _ = await outcome_of(late, timeout=0.02)
    assert isinstance(outcome, Hold)
    assert after.data == {}


async def test_deadlines_inside_an_extension_keep_working():
    async def inner_deadlines(event, context):
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            pass
        await anyio.sleep(0.7)  # longer than the grace that a cancellation from outside would have
        return event.enriched(done=True)

    assert (await outcome_of(inner_deadlines, timeout=5.0))[0].data == {"done": True}


async def test_an_extension_that_swallows_cancellation_is_let_go_of():
    async def stubborn(event, context):
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue

    with anyio.fail_after(30):
        async with registry(extension(on="*", timeout=0.02)(stubborn), adds_terms) as extensions:
            outcome = (await extensions.run(event()))[1]
            assert isinstance(outcome, Hold)
            assert "would not end" in outcome.reason
            assert (await extensions.run(event(), extension="acme.adds_terms"))[0].data


async def test_one_that_swallows_everything_for_a_while_is_let_go_of():
    async def swallows(event, context):
        for _ in range(5):
            try:
                await asyncio.sleep(30)
            except BaseException:  # noqa: BLE001
                continue

    with anyio.fail_after(30):
        assert isinstance((await outcome_of(swallows, timeout=0.02))[1], Hold)
    gc.collect()


async def test_closing_does_not_wait_for_what_swallows_cancellation():
    started = anyio.Event()

    async def stubborn(event, context):
        started.set()
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue

    with anyio.fail_after(30):
        async with registry(extension(on="*", timeout=60)(stubborn)) as extensions:
            visit = extensions.start(event(), ended=lambda: None)
            await started.wait()
        assert visit.outcome is None


async def test_a_cancellation_of_ours_passes_through():
    started = anyio.Event()
    cancelled = []

    async def waits(event, context):
        started.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            cancelled.append(type(error))
            raise

    async with registry(waits) as extensions:
        extensions.start(event(), ended=lambda: None)
        await started.wait()
    assert cancelled == [asyncio.CancelledError]
    assert extensions.states()[0].failures == 0


async def test_an_object_with_an_async_call_may_be_an_extension_too():
    class Terms:
        async def __call__(self, event, context):
            return event.enriched(terms=1)

    assert (await outcome_of(Terms()))[0].data == {"terms": 1}


async def test_a_plain_function_runs_in_a_thread():
    def plain(event, context):
        return event.enriched(thread=threading.current_thread() is threading.main_thread())

    assert (await outcome_of(plain))[0].data == {"thread": False}


async def test_a_plain_function_that_raises_or_returns_a_coroutine_fails():
    def plain(event, context):
        raise SystemExit(3)

    def forgot(event, context):
        return adds_terms(event, context)

    assert "SystemExit" in (await outcome_of(plain))[1].reason
    assert "async def" in (await outcome_of(forgot))[1].reason


async def test_threads_that_never_return_keep_only_their_own_extensions_places():
    release = threading.Event()

    def hangs(event, context):
        release.wait(60)

    def quick(event, context):
        return event.enriched(quick=True)

    both = extension(on="a", timeout=0.02)(hangs), extension(on="b", timeout=30)(quick)
    before = threading.active_count()
    async with registry(*both, limits=Limits(threads=2)) as extensions:
        for _ in range(4):
            assert isinstance((await extensions.run(event(type="a")))[1], Hold)
        assert threading.active_count() - before <= 2
        assert (await extensions.run(event(type="b")))[0].data == {"quick": True}
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("extension"))
        release.set()


async def test_where_the_system_gives_no_thread_that_call_fails_and_later_ones_are_made(monkeypatch):
    def plain(event, context):
        return event.enriched(done=True)

    def starts(thread):
        raise RuntimeError("can't start new thread")

    async with registry(extension(on="*", timeout=5, on_failure="store")(plain), limits=Limits(threads=2)) as extensions:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", starts)
            for _ in range(3):
                assert "RuntimeError" in (await extensions.run(event()))[2][0].outcome
        assert (await extensions.run(event()))[0].data == {"done": True}


async def test_names_of_what_is_added_may_be_any():
    async def hal(event, context):
        return event.enriched(self="/orders/1", event=2)

    assert (await outcome_of(hal))[0].data == {"self": "/orders/1", "event": 2}


async def test_a_thread_is_used_again():
    names = set()

    def plain(event, context):
        names.add(threading.get_ident())

    async with registry(plain) as extensions:
        for _ in range(5):
            await extensions.run(event())
    assert len(names) == 1


async def test_calls_of_one_extension_are_bounded_and_do_not_hold_up_another():
    gate, running, most = anyio.Event(), 0, 0

    async def slow(event, context):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    each = extension(on="slow", timeout=5)(slow), extension(on="quick")(adds_terms)
    async with registry(*each, limits=Limits(calls=3)) as extensions:
        done = []
        visits = [extensions.start(event(type="slow"), ended=lambda: done.append(1)) for _ in range(10)]
        assert (await extensions.run(event(type="quick")))[0].data
        with anyio.fail_after(30):
            while extensions.states()[0].waiting != 7:
                await anyio.lowlevel.checkpoint()
        assert extensions.withdraw(visits[9])
        assert not extensions.withdraw(visits[0])
        gate.set()
        with anyio.fail_after(30):
            while len(done) < 9:
                await anyio.lowlevel.checkpoint()
    assert most == 3
    assert visits[9].outcome is None


async def test_what_was_withdrawn_while_every_call_hangs_is_not_held():
    called = []

    async def hangs(event, context):
        called.append(event.id)
        await anyio.sleep_forever()

    async with registry(extension(on="slow", timeout=600)(hangs), limits=Limits(calls=2)) as extensions:
        taken = [extensions.start(event(id=f"t{n}", type="slow"), ended=lambda: None) for n in range(2)]
        with anyio.fail_after(30):
            while len(called) < 2:
                await anyio.lowlevel.checkpoint()
        waiting = extensions.start(event(id="waits", type="slow"), ended=lambda: None)
        for _ in range(20):
            batch = [extensions.start(event(id=str(n), type="slow"), ended=lambda: None) for n in range(50)]
            assert all(map(extensions.withdraw, batch + batch))
        assert extensions.states()[0].waiting == 1
        assert sum(isinstance(one, Visit) for one in gc.get_objects()) < 200
        assert not extensions.withdraw(taken[0])
        assert extensions.withdraw(waiting)


async def test_what_is_withdrawn_is_passed_over_and_those_behind_it_are_called():
    gate, called = anyio.Event(), []

    async def slow(event, context):
        called.append(event.id)
        await gate.wait()

    async with registry(extension(on="slow", timeout=5)(slow), limits=Limits(calls=1)) as extensions:
        visits = [extensions.start(event(id=str(n), type="slow"), ended=lambda: None) for n in range(200)]
        with anyio.fail_after(30):
            while not called:
                await anyio.lowlevel.checkpoint()
        for one in visits[2:198]:
            extensions.withdraw(one)
        gate.set()
        with anyio.fail_after(30):
            while len(called) < 4:
                await anyio.lowlevel.checkpoint()
        assert extensions.states()[0].waiting == 0
    assert called == ["0", "1", "198", "199"]


async def test_an_event_that_comes_while_others_wait_in_a_call_is_called_at_once():
    gate, called = anyio.Event(), []

    async def slow(event, context):
        called.append(event.id)
        await gate.wait()

    async with registry(slow) as extensions:
        for number in range(3):
            extensions.start(event(str(number)), ended=lambda: None)
            with anyio.fail_after(30):
                while len(called) <= number:
                    await anyio.lowlevel.checkpoint()
    assert called == ["0", "1", "2"]


async def test_the_breaker_opens_after_five_failures_and_lets_one_probe_through():
    calls, clock = [], ManualClock()
    broken = True

    async def flaky(event, context):
        calls.append(1)
        if broken:
            raise OSError

    async with registry(flaky, clock=clock) as extensions:
        for _ in range(5):
            await extensions.run(event())
        outcome = (await extensions.run(event(), extension="acme.flaky", attempts=2))[1]
        assert len(calls) == 5
        assert isinstance(outcome, Hold)
        assert outcome.attempts == 2
        assert outcome.reason.startswith("it keeps failing and is let alone for a while: OSError at ")
        assert outcome.due >= to_micros(START + timedelta(seconds=29))
        shown = extensions.states()[0].open_until
        assert shown is not None
        assert shown % 1_000_000 == 0, "the same whenever it is asked for"
        clock.advance(31)
        await extensions.run(event())
        assert len(calls) == 6, "one probe"
        await extensions.run(event())
        assert len(calls) == 6, "which failed"
        clock.advance(31)
        broken = False
        for _ in range(3):
            assert (await extensions.run(event()))[1] == Apply()
        assert len(calls) == 9
        assert extensions.states()[0].open_until is None


async def test_a_failure_is_shown_with_its_time_until_a_while_after_it_is_over():
    clock, broken = ManualClock(), True

    async def flaky(event, context):
        if broken:
            raise OSError

    async with registry(flaky, clock=clock) as extensions:
        await extensions.run(event())
        broken = False
        clock.advance(59)
        await extensions.run(event())
        assert extensions.states()[0].error.endswith(f", at {show_time(START)}"), "it may only be well between failures"
        clock.advance(2)
        assert extensions.states()[0].error is not None, "nothing says that it is well"
        await extensions.run(event())
        assert extensions.states()[0].error is None


async def test_an_extension_may_fail_in_its_own_words():
    async def refused(event, context):
        raise Failed("the service  refuses\nour key")

    _, outcome, trace = await outcome_of(refused)
    assert (type(outcome), trace[0].outcome) == (Hold, "failed: the service refuses our key")


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_plugins_own_words_are_in_its_rows_and_only_where_it_failed_is_in_the_log(suspends):
    async def refused(event, context):
        if suspends:
            await anyio.lowlevel.checkpoint()
        raise Failed("no member joe@example.com")

    with capture_logs() as lines:
        async with registry(refused) as extensions:
            await extensions.run(event())
            assert extensions.states()[0].error.startswith("no member joe@example.com, at ")
    (line,) = lines
    assert line["error"].startswith("Failed at tests/extensions/test_extensions.py:")


class Unreadable:
    def __str__(self):
        raise LookupError("joe@example.com")


class Answered(OSError):
    @property
    def response(self):
        raise RuntimeError("joe@example.com")


class Bare(Reject):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Failed(None), "None"),
        (Failed(ValueError("the service  is away")), "the service is away"),
        (Failed("\ud800"), "\\xd800"),
        (Failed(Unreadable()), "Failed"),
        (Answered(), "Answered"),
        (Drop(Unreadable()), "raised Drop without what it is made with"),
        (RetryLater(5, Unreadable()), "raised RetryLater without what it is made with"),
        (Bare(), "raised Bare without what it is made with"),
    ],
)
async def test_whatever_is_raised_harms_only_its_own_event(error, reason):
    async def refuses(event, context):
        raise error

    _, outcome, trace = await outcome_of(refuses)
    assert (type(outcome), trace[0].outcome) == (Hold, f"failed: {reason}")


async def test_the_reason_for_which_an_event_waits_or_is_left_out_is_one_line_that_can_be_stored():
    async def drop(event, context):
        raise Drop(ValueError("a\n\ud800"))

    assert (await outcome_of(drop))[1] == Discard("a\\x0a\\xd800")


async def test_with_store_an_open_breaker_lets_events_go_on_at_once():
    calls = []

    async def broken(event, context):
        calls.append(1)
        raise OSError

    async with registry(extension(on="*", on_failure="store")(broken)) as extensions:
        for _ in range(6):
            _, outcome, trace = await extensions.run(event())
            assert outcome == Apply()
    assert len(calls) == 5
    assert trace[0].outcome.startswith("skipped")


async def test_a_row_tells_calls_failures_and_how_long_they_take():
    async with registry(adds_terms, raises) as extensions:
        await extensions.run(event())
        first, second = extensions.states()
    assert (first.calls, first.failures, first.error, first.plugin) == (1, 0, None, "acme")
    assert first.p95_seconds is not None
    assert (second.calls, second.failures) == (1, 1)
    assert second.error.startswith("KeyError at tests/extensions/test_extensions.py:")
    extensions.blame("acme.adds_terms", "blocked the event loop")
    assert extensions.states()[0].error == "blocked the event loop"


async def test_two_extensions_of_one_name_are_told_apart_and_one_named_as_its_plugin_keeps_the_name():
    twice = [extension(on="*", name="terms")(adds_terms) for _ in range(2)]
    async with registry(*twice) as extensions:
        assert [row.extension for row in extensions.states()] == ["acme.terms", "acme.terms#2"]
    async with registry(extension(on="*", name="acme")(adds_terms)) as extensions:
        assert extensions.states()[0].extension == "acme"


@pytest.mark.parametrize(
    "wrong",
    [{"on": ()}, {"on": ""}, {"on": "*", "on_failure": "explode"}, {"on": "*", "timeout": 0}, {"on": "*", "timeout": "2s"},
     {"on": "*", "timeout": float("nan")}, {"on": "*", "timeout": True}, {"on": [1]}],
)  # fmt: skip
async def test_a_declaration_that_cannot_work_is_refused(wrong):
    with pytest.raises(PluginFault):
        extension(**wrong)(adds_terms)


async def test_what_cannot_be_called_is_refused():
    with pytest.raises(PluginFault):
        extension(on="*")("function")


async def test_a_held_event_waits_longer_each_time_between_a_second_and_a_quarter_of_an_hour():
    waits = [back_off(attempts, lambda: 0.5) for attempts in range(1, 40)]
    assert waits == sorted(waits)
    assert waits[0] >= 1.0
    assert back_off(1000, lambda: 0.999) <= 900.0


async def test_a_failure_is_a_log_line_that_names_the_extension_and_no_value():
    async def flaky(event, context):
        raise ValueError("joe@example.com")

    with capture_logs() as lines:
        async with registry(flaky) as extensions:
            for _ in range(5):
                await extensions.run(event())
    assert [line["event"] for line in lines] == ["extension_failed"] * 5 + ["extension_not_called_for_a_while"]
    assert {line["extension"] for line in lines} == {"acme.flaky"}
    assert "joe" not in str(lines)


async def test_failures_far_apart_between_successes_do_not_open_the_breaker():
    breaker = Breaker()
    for number in range(20):
        assert not breaker.failed(number * 20.0)
        breaker.succeeded(number * 20.0)
    assert breaker.admits(400.0)
    for number in range(5):
        breaker.failed(1000.0 + number)
    assert not breaker.admits(1010.0)


async def test_a_few_bad_events_among_good_ones_do_not_stop_an_extension_for_everybody():
    breaker = Breaker()
    for number in range(100):
        assert not breaker.failed(float(number))
        for _ in range(3):
            breaker.succeeded(float(number))
    assert breaker.admits(100.0)


async def test_a_service_that_fails_every_other_call_opens_the_breaker():
    breaker = Breaker()
    for number in range(5):
        breaker.succeeded(float(number))
        breaker.failed(float(number))
    assert not breaker.admits(5.0)


async def test_a_withdrawn_probe_leaves_the_next_one_to_probe():
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(0.0)
    assert breaker.admits(31.0)
    assert not breaker.admits(31.0)
    breaker.withdraw()
    assert breaker.admits(31.0)


async def test_a_call_that_could_not_be_made_is_no_success_that_makes_up_for_failures():
    """A process that dies at every event is being started again in between."""
    calls = 0

    async def dies_and_is_started(event, context):
        nonlocal calls
        calls += 1
        if calls % 3 == 1:
            raise KeyError
        raise NotCalled(1.0, "its process is being started")

    async with registry(dies_and_is_started) as extensions:
        for number in range(15):
            await extensions.run(event(f"e{number}"))
        assert extensions.states()[0].open_until is not None


async def test_many_events_that_do_not_wait_share_one_task():
    seen = set()

    async def quick(event, context):
        seen.add(id(asyncio.current_task()))

    async with registry(quick) as extensions:
        done = []
        for _ in range(200):
            extensions.start(event(), ended=lambda: done.append(1))
        with anyio.fail_after(30):
            while len(done) < 200:
                await anyio.lowlevel.checkpoint()
    assert len(seen) == 1


async def test_what_is_driven_ends_with_whoever_drives_it():
    ended = []

    async def waits():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    steps = Driven(waits(), timeout=60, suspended=lambda: None).__await__()
    next(steps)
    steps.close()
    assert ended == [True]


async def test_an_answer_just_after_the_deadline_is_late():
    async def late():
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return "late"

    with pytest.raises(DeadlinePassed):
        await Driven(late(), timeout=0.01, suspended=lambda: None)
    await anyio.lowlevel.checkpoint()  # and this task was not cancelled by it
