"""A Fleet's drift schedule: when which host is checked. Pure.

Each host has a place of its own in the interval, by a hash of its name, so that checks are spread evenly and every process reckons the same. A check that
could not begin at its time (the window was closed, the budget was spent, nothing ran) is due until it has begun, the longest due first.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.gate.windows import Window, window_of
from reconciler.types.duration import seconds_of
from reconciler.types.resource import address

AT_ONCE = 50
OWN = address("fleet", "maintenancewindow", "", "drift")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Times in seconds. At most `hosts` are begun in any span of `per_s`, None: as many as come, and `at_once` are looked at together. `window`: the
    MaintenanceWindow that must be open, by its address; `times`: those of the schedule's own window."""

    interval_s: float
    hosts: int | None = None
    per_s: float = 3600.0
    at_once: int = AT_ONCE
    window: str = ""
    times: Window | None = None

    def room(self, begun: int, running: int) -> int:
        """How many hosts may be begun now, after so many in the last `per_s`, of which so many are not done."""
        left = self.at_once - running
        return max(0, left if self.hosts is None else min(left, self.hosts - begun))

    def first(self, host: str, now: float) -> float:
        """When a host that nobody has checked is due first: at its next place in the interval."""
        return now + (place(host, self.interval_s) - now) % self.interval_s

    def following(self, host: str, now: float) -> float:
        """When a host is due again whose check begins now: at its next place that is at least half an interval away."""
        return self.first(host, now + self.interval_s / 2)


def place(host: str, interval_s: float) -> float:
    """A host's (`host/shop/web-01`) place in the interval: seconds from its begin."""
    return int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") / 2**64 * interval_s


def schedule_of(fleet: Mapping[str, Any]) -> Schedule | None:
    """The schedule that a Fleet's rules have; None without one. Raises `ValueError` for times that cannot be understood."""
    said = fleet.get("drift")
    if said is None:
        return None
    budget, name = said.get("budget", {}), said.get("window", "")
    tenant, _, own = name.rpartition("/")
    return Schedule(
        interval_s=seconds_of(said["interval"]),
        hosts=budget.get("hosts"),
        per_s=seconds_of(budget.get("per", "1h")),
        at_once=budget.get("atOnce", AT_ONCE),
        window=address("fleet", "maintenancewindow", tenant, own) if name else "",
        times=window_of(OWN, {"times": said["times"]}) if "times" in said else None,
    )
