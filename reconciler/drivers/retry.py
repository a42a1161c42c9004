"""The same call again after `RetryLater`, for a few seconds at most: longer waits are the caller's business, who can put the work off."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from reconciler.drivers.driver import Context
from reconciler.errors import RetryLater
from reconciler.stages import count

T = TypeVar("T")
LEAST_S = 0.1
"""What the back-off grows from when a driver asks for less."""
SLICE_S = 0.1
"""How long a wait goes on before it looks whether it was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """`attempts`: most calls for one request. `budget_s`: the longest that all waits of one request may take together, in seconds."""

    attempts: int = 4
    budget_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[float, float], float] = random.uniform

    def made(self, call: Callable[[], T], context: Context, note: Callable[[int, RetryLater], None] = lambda attempt, error: None) -> T:
        """The call's result. `RetryLater` goes on to the caller after the last attempt, when what the driver asks for is longer than what is left of
        the budget or of the context's deadline, and as soon as the context is cancelled. `note` hears of each failure that is tried again.
        """
        left_s = self.budget_s
        for attempt in range(1, self.attempts):
            try:
                return call()
            except RetryLater as error:
                most_s = min(left_s, context.deadline - self.clock())
                if error.after_s > most_s:
                    raise
                wait_s = self._wait_s(error.after_s, attempt, most_s)
                if not self._waited(wait_s, context.cancelled):
                    raise
                left_s -= wait_s
                note(attempt, error)
                count("driver_retries")
        return call()

    def _wait_s(self, after_s: float, attempt: int, most_s: float) -> float:
        """What the driver asked for, and on top of it anything up to a bound that doubles: callers that failed together come back apart."""
        return min(most_s, after_s + self.draw(0.0, max(after_s, LEAST_S) * 2.0 ** (attempt - 1)))

    def _waited(self, wait_s: float, cancelled: Callable[[], bool]) -> bool:
        """Wait; false as soon as it is cancelled."""
        until = self.clock() + wait_s
        while not cancelled():
            left_s = until - self.clock()
            if left_s <= 0:
                return True
            self.sleep(min(left_s, SLICE_S))
        return False
