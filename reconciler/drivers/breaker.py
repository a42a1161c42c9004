"""A circuit breaker for each provider: one that fails again and again is left alone for a while, then asked with one call.

In: calls under a key (`cloud/eu`), and what each failure says of the provider. Out: the call's result, or `Unavailable` without a call. Nothing of
it outlives the process. Safe for threads.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from threading import Lock
from typing import TypeVar

from reconciler.errors import RetryLater
from reconciler.stages import count

T = TypeVar("T")
UNAVAILABLE = "provider-unavailable"
"""The code of `Unavailable`, and of the `Unknown` that an observation is meanwhile."""
LAST_ERROR = 300
MOST_DOUBLINGS = 30


class State(StrEnum):
    """Calls go through; none does; one does, whose end decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """How a provider stands. `failures`: how many in a row. `since`: since when it is closed, or is not. `next_try`: when a call is let
    through again, None while closed. Both are Unix time in seconds. `last_error` holds no secret; empty after a success."""

    key: str
    state: State
    failures: int
    since: float
    next_try: float | None
    last_error: str


class Unavailable(RetryLater):
    """The provider was not asked: it has failed too often."""

    def __init__(self, state: BreakerState, after_s: float) -> None:
        driver, _, provider = state.key.partition("/")
        who = f"the provider {provider} of the driver {driver}" if provider else f"the system of the driver {driver}"
        again = f"it is tried again at {_at(state.next_try)}" if state.state is State.OPEN and state.next_try else "it is being tried now"
        message = f"{who} has failed since {_at(state.since)}; {again}; the last error was: {state.last_error}"
        super().__init__(message, after_s=after_s, hint="see to it, or wait: nothing was changed by this call", code=UNAVAILABLE)


@dataclass(slots=True, kw_only=True)
class _Breaker:
    """`until` is None while closed. `trial` marks the call that was let through when it was half-open."""

    since: float
    failures: int = 0
    opened: int = 0
    until: float | None = None
    trial: object | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Breakers:
    """One breaker for each key. `failures`: how many in a row open it. `open_s`: how long it stays open at first; that doubles with every
    trial that fails, up to `most_s`. `clock` decides, in seconds that never go back; `wall` is for people."""

    failures: int = 5
    open_s: float = 30.0
    most_s: float = 600.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    draw: Callable[[float, float], float] = random.uniform
    _all: dict[str, _Breaker] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def call(self, key: str, call: Callable[[bool], T], blame: Callable[[BaseException], str | None]) -> T:
        """The result of `call`, which is told whether it is the only one let through. `blame` gives what an error says of the provider, without
        secrets, or None if it says nothing: then it counts neither as failure nor as success. Raises `Unavailable`, and what the call raises.
        """
        token = object()
        trial = self._enter(key, token)
        try:
            result = call(trial)
        except BaseException as error:
            self._failed(key, token, blame(error), getattr(error, "after_s", 0.0))
            raise
        self._succeeded(key)
        return result

    def states(self) -> Mapping[str, BreakerState]:
        """How every provider stands that was called, by key."""
        with self._lock:
            return {key: self._state(key, breaker) for key, breaker in sorted(self._all.items())}

    def _enter(self, key: str, token: object) -> bool:
        """Whether this call is a trial."""
        with self._lock:
            breaker = self._all.setdefault(key, _Breaker(since=self.wall()))
            if breaker.until is None:
                return False
            left_s = breaker.until - self.clock()
            if left_s > 0 or breaker.trial is not None:
                raise Unavailable(self._state(key, breaker), left_s if left_s > 0 else self.open_s)
            breaker.trial = token
            return True

    def _succeeded(self, key: str) -> None:
        """Whichever call it was: the provider has answered just now."""
        with self._lock:
            breaker = self._all[key]
            since = breaker.since if breaker.until is None else self.wall()
            self._all[key] = _Breaker(since=since)

    def _failed(self, key: str, token: object, error: str | None, after_s: float) -> None:
        """A call that began before the breaker opened says nothing new; a trial that says nothing of the provider makes room for another."""
        with self._lock:
            breaker = self._all[key]
            tried = breaker.trial is token
            if tried:
                breaker.trial = None
            if error is None or not (tried or breaker.until is None):
                return
            breaker.failures += 1
            breaker.error = " ".join(error.split())[:LAST_ERROR]
            if not tried and breaker.failures < self.failures:
                return
            if breaker.until is None:
                breaker.since = self.wall()
            breaker.until = self.clock() + self._open_s(breaker.opened, after_s)
            breaker.opened += 1
        count("breaker_opened")

    def _open_s(self, opened: int, after_s: float) -> float:
        """Half of it is certain and half is drawn, so that many processes do not come back together; never less than what was asked for."""
        most_s = min(self.most_s, self.open_s * 2.0 ** min(opened, MOST_DOUBLINGS))
        return min(self.most_s, max(after_s, self.draw(most_s / 2, most_s)))

    def _state(self, key: str, breaker: _Breaker) -> BreakerState:
        left_s = None if breaker.until is None else breaker.until - self.clock()
        state = State.CLOSED if left_s is None else State.OPEN if left_s > 0 else State.HALF_OPEN
        next_try = None if left_s is None else self.wall() + max(0.0, left_s)
        return BreakerState(
            key=key, state=state, failures=breaker.failures, since=breaker.since, next_try=next_try, last_error=breaker.error
        )


def _at(moment: float | None) -> str:
    return datetime.fromtimestamp(moment or 0.0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
