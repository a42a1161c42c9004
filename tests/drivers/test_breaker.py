"""A circuit breaker: held against a model of itself, with calls that overlap, and hammered by threads."""

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reconciler.drivers.breaker import Breakers, State, Unavailable
from reconciler.errors import RetryLater

FAILURES, OPEN_S, MOST_S = 3, 8.0, 40.0


class Failed(Exception):
    """Of the provider."""


class Other(Exception):
    """Says nothing of the provider."""


def blame(error: BaseException) -> str | None:
    return "failed" if isinstance(error, Failed | RetryLater) else None


class Call(Thread):
    """A call that goes on until it is told how to end."""

    def __init__(self, breakers: Breakers) -> None:
        super().__init__(daemon=True)
        self.breakers = breakers
        self.begun: queue.Queue[bool | None] = queue.Queue()
        self.end: queue.Queue[Exception | None] = queue.Queue()
        self.start()
        self.trial = self.begun.get(timeout=30)
        """None: it was refused."""

    def run(self) -> None:
        try:
            self.breakers.call("k", self.body, blame)
        except Unavailable:
            self.begun.put(None)
        except (Failed, Other):
            pass

    def body(self, trial: bool) -> None:
        self.begun.put(trial)
        error = self.end.get()
        if error is not None:
            raise error

    def finish(self, error: Exception | None) -> None:
        self.end.put(error)
        self.join(30)
        assert not self.is_alive()


class Machine(RuleBasedStateMachine):
    """What the breaker should be, in plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.failures, self.opened = 0.0, 0, 0
        self.until: float | None = None
        self.trial: Call | None = None
        self.running: list[Call] = []
        self.breakers = Breakers(failures=FAILURES, open_s=OPEN_S, most_s=MOST_S, clock=lambda: self.now, draw=lambda low, high: high)

    @property
    def state(self) -> State:
        if self.until is None:
            return State.CLOSED
        return State.OPEN if self.now < self.until else State.HALF_OPEN

    @rule(seconds=st.sampled_from([0.5, 4.0, 8.0, 50.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.running) < 6)
    @rule()
    def begin(self) -> None:
        lets = self.state is State.CLOSED or (self.state is State.HALF_OPEN and self.trial is None)
        call = Call(self.breakers)
        assert (call.trial is not None) == lets
        if lets:
            self.running.append(call)
            assert call.trial == (self.state is State.HALF_OPEN)
            if call.trial:
                self.trial = call

    def _end(self, which: int, error: Exception | None) -> bool:
        call = self.running.pop(which % len(self.running))
        call.finish(error)
        tried = call is self.trial
        if tried:
            self.trial = None
        return tried

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5))
    def succeed(self, which: int) -> None:
        self._end(which, None)
        self.failures, self.opened, self.until, self.trial = 0, 0, None, None

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5))
    def fail(self, which: int) -> None:
        tried = self._end(which, Failed())
        if not tried and self.until is not None:
            return
        self.failures += 1
        if tried or self.failures >= FAILURES:
            self.until = self.now + min(MOST_S, OPEN_S * 2**self.opened)
            self.opened += 1

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5))
    def end_otherwise(self, which: int) -> None:
        self._end(which, Other())

    @invariant()
    def stands_as_it_should(self) -> None:
        found = self.breakers.states().get("k")
        if found is not None:
            assert (found.state, found.failures) == (self.state, self.failures)
            assert (found.next_try is None) == (self.until is None) and bool(found.last_error) == bool(self.failures)

    def teardown(self) -> None:
        for call in self.running:
            call.finish(Other())


def test_a_breaker_is_as_its_model() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


def failing(after_s: float = 0.0) -> Callable[[bool], None]:
    def call(trial: bool) -> None:
        raise RetryLater("failed", after_s=after_s)

    return call


@given(st.integers(0, 12), st.floats(0, 100))
def test_how_long_it_is_left_alone_grows_by_chance_within_bounds(trials: int, after_s: float) -> None:
    now = [0.0]
    breakers = Breakers(failures=1, open_s=OPEN_S, most_s=MOST_S, clock=lambda: now[0], wall=lambda: now[0])
    for number in range(trials + 1):
        with pytest.raises(RetryLater):
            breakers.call("k", failing(after_s), blame)
        state = breakers.states()["k"]
        assert state.next_try is not None
        most_s = min(MOST_S, OPEN_S * 2**number)
        left_s = state.next_try - now[0]
        assert min(MOST_S, max(after_s, most_s / 2)) - 1e-6 <= left_s <= max(most_s, min(after_s, MOST_S)) + 1e-6
        now[0] += left_s + 1e-6
        assert breakers.states()["k"].state is State.HALF_OPEN


def test_threads_find_one_trial_at_a_time() -> None:
    breakers = Breakers(failures=1, open_s=0.0, most_s=0.0)
    inside, most, trials, lock = 0, 0, 0, Lock()
    with pytest.raises(RetryLater):
        breakers.call("k", failing(), blame)

    def trial(alone: bool) -> None:
        nonlocal inside, most, trials
        assert alone
        with lock:
            inside, trials = inside + 1, trials + 1
            most = max(most, inside)
        sum(range(500))
        with lock:
            inside -= 1
        raise Failed

    def hammer(number: int) -> int:
        refused = 0
        for _ in range(300):
            try:
                breakers.call("k", trial, blame)
            except Unavailable:
                refused += 1
            except Failed:
                pass
        return refused

    with ThreadPoolExecutor(8) as pool:
        refused = sum(pool.map(hammer, range(8)))
    assert most == 1 and trials + refused == 8 * 300
    assert breakers.states()["k"].failures == trials + 1


def test_providers_do_not_share_a_breaker() -> None:
    breakers = Breakers(failures=1)
    with pytest.raises(RetryLater):
        breakers.call("cloud/eu", failing(), blame)
    assert breakers.call("cloud/us", lambda trial: 7, blame) == 7
    assert {key: state.state for key, state in breakers.states().items()} == {"cloud/eu": State.OPEN, "cloud/us": State.CLOSED}


def test_an_interruption_makes_room_for_another_trial() -> None:
    breakers = Breakers(failures=1, open_s=0.0)

    def interrupted(trial: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(RetryLater):
        breakers.call("k", failing(), blame)
    with pytest.raises(KeyboardInterrupt):
        breakers.call("k", interrupted, blame)
    assert breakers.call("k", lambda trial: trial, blame) is True


def test_a_call_from_before_it_opened_does_not_end_a_trial() -> None:
    now = [0.0]
    breakers = Breakers(failures=1, open_s=OPEN_S, clock=lambda: now[0])
    early, opens = Call(breakers), Call(breakers)
    opens.finish(Failed())
    now[0] += OPEN_S
    trial = Call(breakers)
    early.finish(Failed())
    assert trial.trial and breakers.states()["k"].state is State.HALF_OPEN
    assert Call(breakers).trial is None, "the trial is still going on"
    trial.finish(None)
    assert breakers.states()["k"].state is State.CLOSED


def test_a_trial_that_was_overtaken_does_not_end_the_next_one() -> None:
    now = [0.0]
    breakers = Breakers(failures=1, open_s=OPEN_S, clock=lambda: now[0])
    early, opens = Call(breakers), Call(breakers)
    opens.finish(Failed())
    now[0] += OPEN_S
    slow = Call(breakers)
    early.finish(None)
    Call(breakers).finish(Failed())
    now[0] += OPEN_S
    trial = Call(breakers)
    slow.finish(Failed())
    assert (slow.trial, trial.trial, Call(breakers).trial) == (True, True, None)
    trial.finish(None)
