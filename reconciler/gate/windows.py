"""Maintenance windows: when what they are about may begin. Pure.

Times are RFC 5545: a local start in a time zone, repeated by a rule, lasting a real time. A local time that a change of the clocks leaves out is taken
with the offset before the change; one that comes twice is its first (RFC 5545, 3.3.5). Windows across midnight, and the days of a leap year, are
nothing special then.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reconciler.gate.recurrence import check, starts
from reconciler.scope import in_scope
from reconciler.types.change import Risk
from reconciler.types.duration import seconds_of, utc
from reconciler.types.resource import parts, tenant_of
from reconciler.types.values import Spec

HOUR_S = 3600.0
DISORDER_S = 2 * HOUR_S
"""By how much local times may be out of order where clocks are changed."""
FIRST, LAST = datetime(1970, 1, 2), datetime(2200, 1, 1)
"""When windows may begin first."""
LONGEST_S = 366 * 86_400.0
FAR_S = 400 * 86_400.0
"""How far ahead an opening is looked for; what opens later is looked for again then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a gate is asked about: one change of a step, at one place. `group` is its manifest there (`host/shop/web-01`); `labels` those of its `host`, which
    is the group that it has after a move."""

    address: str
    group: str
    risk: frozenset[Risk] = frozenset()
    labels: Mapping[str, str] | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class Time:
    """A span of time, once or again and again. `start` is local, without a zone; the length in seconds."""

    start: datetime
    length_s: float
    zone: str
    rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A MaintenanceWindow. `name` is how people call it: `shop/database-nights`; `tenant` is empty for one that is about all."""

    address: str
    tenant: str
    name: str
    freeze: bool
    times: tuple[Time, ...]
    scopes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    risks: frozenset[Risk] = frozenset()

    def is_about(self, subject: Subject) -> bool:
        """Whether it has a say in a change."""
        return (
            (not self.tenant or tenant_of(subject.address) == self.tenant)
            and (not self.scopes or any(in_scope(subject.address, s) or in_scope(subject.group, s) for s in self.scopes))
            and (not self.labels or self.labels_match(subject.labels or {}))
            and (not self.risks or not self.risks.isdisjoint(subject.risk))
        )

    def labels_match(self, labels: Mapping[str, str]) -> bool:
        """Whether these are the labels of a host that it is about."""
        return all(labels.get(key) == value for key, value in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Why something may not begin: `until` when, in seconds since the epoch, that has to be asked again. `by` names the gate, `next` who or what moves it."""

    by: str
    reason: str
    next: str
    until: float


def window_of(address: str, spec: Spec) -> Window:
    """A window as its manifest says it. Raises `ValueError` for a rule or a time zone that cannot be understood."""
    tenant, name = tenant_of(address), parts(address)[3]
    return Window(
        address=address,
        tenant=tenant,
        name="/".join(filter(None, (tenant, name))),
        freeze=spec.get("mode", "open") == "freeze",
        times=times_of(spec),
        scopes=tuple(spec.get("scopes", ())),
        labels=tuple(sorted(spec.get("labels", {}).items())),
        risks=frozenset(map(Risk, spec.get("risks", ()))),
    )


def times_of(spec: Spec) -> tuple[Time, ...]:
    """The `times` of a manifest. Raises `ValueError` as `window_of` does."""
    found = tuple(
        Time(
            datetime.fromisoformat(time["start"]), seconds_of(time["duration"]), time.get("timezone", "Etc/UTC"), time.get("recurrence", "")
        )
        for time in spec.get("times", ())
    )
    for time in found:
        _check(time)
    return found


def _check(time: Time) -> None:
    if not FIRST <= time.start < LAST:
        raise ValueError(f"it begins in {time.start.year}, and has to between {FIRST.year} and {LAST.year}")
    try:
        ZoneInfo(time.zone)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError(f"there is no time zone {time.zone}") from None
    if time.rule:
        check(time.rule, time.start)
        if time.length_s > LONGEST_S:
            raise ValueError(f"what comes again lasts at most {LONGEST_S / 86_400:g} days")


def closed(windows: Sequence[Window], subject: Subject, now: float, overridden: Iterable[str] = ()) -> Closed | None:
    """Why a change may not begin now as far as windows go; None if it may. `overridden`: addresses of windows that do not count."""
    without = frozenset(overridden)
    mine = [window for window in windows if window.is_about(subject)]
    for window in mine:
        if window.freeze and window.address not in without and (on := opens(window, now)) is not None:
            return on
    opening = [window for window in mine if not window.freeze]
    waits = [None if window.address in without else opens(window, now) for window in opening]
    return min((wait for wait in waits if wait is not None), key=lambda wait: wait.until, default=None) if all(waits) else None


def opens(window: Window, now: float) -> Closed | None:
    """Whether a window by itself keeps what it is about, and until when."""
    span = _span(window, now)
    if window.freeze:
        return None if span is None else _closed(window, f"the freeze {window.name} is on", span[1])
    if span is not None:
        return None
    begins = _next(window, now)
    rest = ", and no time of it is left" if begins >= now + FAR_S else ""
    return _closed(window, f"{shut(window)}{rest}", begins)


def shut(window: Window) -> str:
    """How the reason begins why something waits for a window."""
    return f"the maintenance window {window.name} is closed"


def went_by(window: Window, since: float, now: float) -> float | None:
    """When the first of its spans ended that began after a time and is over; None if there was none."""
    firsts = (next((span for span in _spans(time, since) if span[0] >= since), None) for time in window.times)
    return min((end for _, end in filter(None, firsts) if end <= now), default=None)


def spans_on(times: Iterable[Time], now: float) -> list[tuple[float, float]]:
    """Begin and end of all that are on now, sorted."""
    return sorted({span for time in times for span in _around(time, _hour(now)) if span[0] <= now < span[1]})


def next_begin(times: Iterable[Time], now: float) -> float | None:
    """When the next one begins; None if none does within `FAR_S`."""
    begins = [begin for time in times for begin in _begins(time, _hour(now)) if begin > now]
    return min((begin for begin in begins if begin < now + FAR_S), default=None)


def _closed(window: Window, reason: str, until: float) -> Closed:
    then = f"it may go on at {utc(until)}; sooner: octofleet override {window.name} --for 1h --reason WHY"
    return Closed(by=window.address, reason=reason, next=then, until=until)


def _span(window: Window, now: float) -> tuple[float, float] | None:
    """The span that is on now: begin and end; of several, the one that ends last."""
    return max(spans_on(window.times, now), key=lambda span: span[1], default=None)


def _next(window: Window, now: float) -> float:
    """When the next one begins; `FAR_S` from now if there is none before that."""
    found = next_begin(window.times, now)
    return now + FAR_S if found is None else found


def _hour(now: float) -> int:
    """Hours since the epoch: so often, and not for each change that is asked about, a rule is looked at from its start on."""
    return int(now // HOUR_S)


@lru_cache(maxsize=1024)
def _around(time: Time, hour: int) -> Sequence[tuple[float, float]]:
    """The spans that touch an hour."""
    begin, end = hour * HOUR_S, (hour + 1) * HOUR_S
    found = []
    for span in _spans(time, begin - time.length_s):
        if span[0] >= end + DISORDER_S:
            break
        if span[1] > begin and span[0] < end:
            found.append(span)
    return tuple(found)


@lru_cache(maxsize=1024)
def _begins(time: Time, hour: int) -> Sequence[float]:
    """The beginnings of spans from an hour on, up to the first that is after it."""
    found = []
    for begin, _ in _spans(time, hour * HOUR_S):
        found.append(begin)
        if begin >= (hour + 1) * HOUR_S:
            break
    return tuple(found)


def _spans(time: Time, after: float) -> Iterator[tuple[float, float]]:
    """Begin and end of each span that begins after a time, or at most a day before it, in their order."""
    zone = ZoneInfo(time.zone)
    for local in _starts(time, datetime.fromtimestamp(max(after, 0.0), zone).replace(tzinfo=None) - timedelta(days=1)):
        begin = local.replace(tzinfo=zone).timestamp()
        yield begin, begin + time.length_s


def _starts(time: Time, after: datetime) -> Iterator[datetime]:
    if not time.rule:
        yield from (time.start,) if time.start >= after else ()
        return
    yield from starts(time.rule, time.start, after)
