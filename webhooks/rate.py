"""How often a forge may be written to."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most so many in so many seconds."""

    most: int
    period_s: float


RATES: Mapping[str, tuple[Rate, ...]] = {
    "github": (Rate(most=80, period_s=60), Rate(most=500, period_s=3600)),
    "gitlab": (Rate(most=60, period_s=60),),
    "gitea": (Rate(most=300, period_s=60),),
    "bitbucket": (Rate(most=60, period_s=60), Rate(most=900, period_s=3600)),
    "bitbucket-server": (Rate(most=300, period_s=60),),
}
"""By the type of the settings: GitHub's documented limit on what creates content, GitLab's on comments, Bitbucket Cloud's hourly one with room for
reading; of those that one runs oneself a modest one."""


class Bucket:
    """A token bucket for each of some rates: full at first, filled again evenly. For one thread; `now` gives seconds."""

    def __init__(self, rates: tuple[Rate, ...], now: Callable[[], float] = time.monotonic) -> None:
        self._rates, self._now = rates, now
        self._left = [float(rate.most) for rate in rates]
        self._at = now()

    def wait_s(self) -> float:
        """How long until one more may be; 0 if it may now."""
        self._fill()
        return max(
            (max(1.0 - left, 0.0) * rate.period_s / rate.most for left, rate in zip(self._left, self._rates, strict=True)), default=0.0
        )

    def take(self) -> None:
        """One more."""
        self._fill()
        self._left = [left - 1.0 for left in self._left]

    def _fill(self) -> None:
        now = self._now()
        passed, self._at = now - self._at, now
        self._left = [
            min(float(rate.most), left + passed * rate.most / rate.period_s) for left, rate in zip(self._left, self._rates, strict=True)
        ]
