"""What a receiver is told: grouped, once, again after a while, within the limit, and of every end. A model plays random histories against it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition, Event
from reconciler.alert.line import FAILED_MOST_S, Line, Message, due, failed, follow, told, trying
from tests.alerts.made import channel, condition

A, B, C = (condition(f"host/shop/{name}") for name in "abc")


def arrived(line: Line, to: Channel, now: float) -> tuple[Line, Message]:
    message = due(line, to, now)
    assert message is not None
    return told(trying(line, message), message, to, now), message


def test_what_comes_within_the_time_is_one_message() -> None:
    line = follow(Line(), [A], 100)
    assert due(line, channel(), 129.9) is None
    line = follow(line, [A, B], 120)
    line, message = arrived(line, channel(), 130)
    assert message.opened == (A, B) and message.over == () and due(follow(line, [A, B], 9000), channel(), 9000) is None, "told once"


def test_an_end_is_told_and_then_forgotten() -> None:
    line, _ = arrived(follow(Line(), [A, B], 0), channel(), 30)
    line = follow(line, [B], 40)
    assert due(line, channel(), 69) is None
    line, message = arrived(line, channel(), 70)
    assert message.over == (A,) and message.open == {B.topic} and set(line.entries) == {B.key}


def test_what_comes_and_goes_untold_is_counted_in_the_next_message() -> None:
    line = follow(follow(Line(), [A, B], 0), [], 10)
    assert line.entries == {} and due(line, channel(), 1000) is None, "nobody is woken for what is over"
    line, message = arrived(follow(line, [C], 1000), channel(), 1030)
    assert message.unsaid == 2 and line.unsaid == 0


def test_an_end_of_what_may_have_been_told_is_told() -> None:
    line = follow(Line(), [A], 0)
    message = due(line, channel(), 30)
    assert message is not None
    line = failed(trying(line, message), "no answer", 60)
    line = follow(line, [], 61)
    assert [entry.over_at for entry in line.entries.values()] == [61]
    _, message = arrived(line, channel(), 1000)
    assert message.over == (A,) and message.opened == ()


def test_a_flap_within_the_time_is_not_told() -> None:
    line, _ = arrived(follow(Line(), [A], 0), channel(), 30)
    line = follow(follow(line, [], 40), [A], 45)
    assert due(line, channel(), 10_000) is None


def test_what_begins_again_while_its_end_is_told_is_new() -> None:
    line, _ = arrived(follow(Line(), [A], 0), channel(), 30)
    line = follow(line, [], 40)
    message = due(line, channel(), 70)
    assert message is not None and message.over == (A,)
    line = follow(trying(line, message), [A], 71)
    _, again = arrived(told(line, message, channel(), 72), channel(), 102)
    assert again.opened == (A,)


def test_it_is_told_again_while_it_is_still_so() -> None:
    to = channel(repeat_s=100.0)
    line, _ = arrived(follow(Line(), [A], 0), to, 30)
    assert due(line, to, 129) is None
    line, message = arrived(line, to, 130)
    assert message.still == (A,) and message.opened == () and due(line, to, 229) is None


def test_no_more_messages_than_the_limit_and_nothing_is_lost() -> None:
    to = channel(messages=2, per_s=1000.0, group_s=0.0)
    line, _ = arrived(follow(Line(), [A], 0), to, 0)
    line, _ = arrived(follow(line, [A, B], 1), to, 1)
    line = follow(line, [A, B, C], 2)
    assert due(line, to, 999) is None
    _, message = arrived(line, to, 1000)
    assert message.opened == (C,)


def test_a_receiver_that_fails_is_tried_less_and_less_often() -> None:
    line, now, waits = follow(Line(), [A], 0), 30.0, []
    for _ in range(12):
        message = due(line, channel(), now)
        assert message is not None and message.opened == (A,)
        line = failed(trying(line, message), "why", now)
        assert due(line, channel(), line.retry_at - 0.1) is None
        waits.append(line.retry_at - now)
        now = line.retry_at
    assert waits == sorted(waits) and waits[0] == 5 and waits[-1] == FAILED_MOST_S and line.error == "why"
    line, _ = arrived(line, channel(), now)
    assert line.failures == 0 and line.error == ""


def test_a_clock_that_steps_back_keeps_nothing_back() -> None:
    to = channel(messages=1, repeat_s=100.0)
    line = follow(Line(sent=(9e9,), failures=3, retry_at=9e9), [A], 9e9)
    assert due(line, to, 1000) is not None


@pytest.mark.parametrize(
    ("to", "heard"),
    [
        (channel(), True),
        (channel(tenant="shop", tenants=frozenset({"shop"})), True),
        (channel(tenant="lab", tenants=frozenset({"lab"})), False),
        (channel(tenants=frozenset({"lab", "shop"})), True),
        (channel(on=frozenset({Event.RUN_FAILED})), False),
        (channel(source="another"), False),
    ],
)
def test_a_channel_hears_of_its_own(to: Channel, heard: bool) -> None:
    assert to.hears(A, 100) is heard
    assert channel(tenants=frozenset({"shop"})).hears(condition(tenant=""), 1) is False, "what is across tenants is not a tenant's"


def test_a_host_is_silent_for_a_channel_after_its_own_time() -> None:
    host = condition(event=Event.HOST_SILENT, since=1000.0)
    to = channel(silent_s=60.0)
    assert (to.hears(host, 1059), to.hears(host, 1060), channel().hears(host, 9999)) == (False, True, False)


SUBJECTS = [condition(f"host/{tenant}/h{n}", tenant=tenant) for tenant in ("shop", "lab") for n in range(3)]
STEPS = st.lists(
    st.tuples(st.sets(st.sampled_from(SUBJECTS)), st.sampled_from(["ok", "lost", "fail", "crash", "wait"]), st.integers(0, 60))
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 3), st.sampled_from([None, 50.0]))
def test_whatever_happens_the_receiver_knows_in_the_end(
    steps: list[tuple[set[Condition], str, int]], most: int, repeat: float | None
) -> None:
    """The receiver counts an opening again as one, as at-least-once wants it. `lost`: it took a message and we never knew; `crash`: we died after
    storing that it was tried, and it may have taken it."""
    to = channel(group_s=10.0, messages=most, per_s=100.0, repeat_s=repeat)
    line, now, known = Line(), 0.0, set[str]()
    arrivals: list[float] = []
    for wanted, what, passed in [*steps, *[(set(SUBJECTS[:2]), "ok", 600)] * 4]:
        now += passed
        line = follow(line, wanted, now)
        message = due(line, to, now)
        if message is None or what == "wait":
            continue
        assert all(item.key in line.entries for item in message.opened)
        line = trying(line, message)
        if what != "fail":
            known |= {item.key for item in (*message.opened, *message.still)}
            known -= {item.key for item in message.over}
        if what == "ok":
            line = told(line, message, to, now)
            arrivals.append(now)
        elif what != "crash":
            line = failed(line, "why", now)
        assert known <= set(line.entries) | {item.key for item in wanted}, "what it may know is never forgotten"
    assert known == {item.key for item in SUBJECTS[:2]}
    for at in arrivals:
        assert sum(at - 100 < other <= at for other in arrivals) <= most
    assert replace(line, sent=()).failures == 0
