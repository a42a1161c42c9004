"""Recurrence rules of RFC 5545, as far as windows take them: what they may say, and when they begin. Pure.

A rule comes from whoever may write a manifest, and is asked at every step. So it has to be one whose next time is found soon: the library that counts
knows no limit. Parts that nobody needs for a window (seconds) or that are no RFC (Easter) are refused, a rule that never occurs is, and counting begins
near the time that is asked about, not at the first one of decades.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from dateutil.rrule import rrule, rrulestr

PARTS = frozenset(
    {
        "FREQ",
        "INTERVAL",
        "COUNT",
        "UNTIL",
        "WKST",
        "BYSETPOS",
        "BYMONTH",
        "BYMONTHDAY",
        "BYYEARDAY",
        "BYWEEKNO",
        "BYDAY",
        "BYHOUR",
        "BYMINUTE",
    }
)
FREQUENCIES = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"})
MOST_A_DAY = 24
_STEPS = {"HOURLY": timedelta(hours=1), "DAILY": timedelta(days=1), "WEEKLY": timedelta(weeks=1)}
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
_DAY = re.compile(r"(?P<number>[+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_LISTS = {"BYSETPOS": 366, "BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53, "BYHOUR": 23, "BYMINUTE": 59}
"""The greatest number in a list; all but months, hours and minutes may be counted from the end."""
_FROM_ZERO, _NEVER_NEGATIVE = frozenset({"BYHOUR", "BYMINUTE"}), frozenset({"BYMONTH", "BYHOUR", "BYMINUTE"})
_OF_DAYS = ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY")


def parts_of(rule: str) -> dict[str, str]:
    """A rule's parts by name. Raises `ValueError` for one that windows do not take."""
    found: dict[str, str] = {}
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        if name not in PARTS:
            raise ValueError(f"a rule has no part {name or part!r} here")
        if name in found:
            raise ValueError(f"the rule says {name} twice")
        found[name] = value
    if found.get("FREQ") not in FREQUENCIES:
        raise ValueError(f"FREQ is one of {', '.join(sorted(FREQUENCIES))}")
    for name in ("INTERVAL", "COUNT"):
        if not _NUMBER.fullmatch(found.get(name, "1")):
            raise ValueError(f"{name} is a number from 1 to 9999")
    _check_lists(found)
    return found


def _check_lists(parts: Mapping[str, str]) -> None:
    if "BYSETPOS" in parts and parts["FREQ"] in ("DAILY", "HOURLY"):
        raise ValueError(f"BYSETPOS chooses nothing in a rule that is {parts['FREQ']}")
    for name, most in _LISTS.items():
        for value in parts[name].split(",") if name in parts else ():
            if not re.fullmatch(r"[+-]?[0-9]{1,3}", value) or not _fits(name, int(value), most):
                raise ValueError(f"{name}={value} is out of range")
    hours = len(parts["BYHOUR"].split(",")) if "BYHOUR" in parts else 24 if parts["FREQ"] == "HOURLY" else 1
    if hours * len(parts.get("BYMINUTE", "").split(",")) > MOST_A_DAY:
        raise ValueError(f"it begins more than {MOST_A_DAY} times a day")
    most = 53 if parts["FREQ"] == "YEARLY" and "BYMONTH" not in parts else 5
    for value in parts["BYDAY"].split(",") if "BYDAY" in parts else ():
        day = _DAY.fullmatch(value)
        if day is None or (day["number"] is not None and not 0 < abs(int(day["number"])) <= most):
            raise ValueError(f"BYDAY={value} is no day here")


def _fits(name: str, number: int, most: int) -> bool:
    least = 0 if name in _FROM_ZERO else 1
    return least <= (number if name in _NEVER_NEGATIVE else abs(number)) <= most


def check(rule: str, start: datetime) -> None:
    """Raises `ValueError` for a rule that cannot be understood, or never occurs."""
    parts = parts_of(rule)
    days = ";".join(f"{name}={re.sub(r'[+-]?[0-9]+(?=[A-Z])', '', parts[name])}" for name in _OF_DAYS if name in parts)
    of_days = f"FREQ=YEARLY;{days}".rstrip(";")  # if no day of any year fits, that is known sooner than by all hours of it
    if any(next(starts(asked, start, start), None) is None for asked in (of_days, rule)):
        raise ValueError(f"the rule {rule} never occurs")


def starts(rule: str, start: datetime, after: datetime) -> Iterator[datetime]:
    """When it begins, not before `after`, in order; `start` is its first time. All times are local and without a zone."""
    parts = parts_of(rule)
    step = _STEPS.get(parts["FREQ"])
    interval = int(parts.get("INTERVAL", "1"))
    if "COUNT" not in parts:
        if step is not None:
            start += max((after - start) // (step * interval) - 1, 0) * step * interval
        elif (start.month, start.day) != (2, 29):
            start = start.replace(year=start.year + max((after.year - start.year) // interval - 1, 0) * interval)
    yield from _made(rule, start).xafter(after, inc=True)


@lru_cache(maxsize=1024)
def _made(rule: str, start: datetime) -> rrule:
    made = rrulestr(rule, dtstart=start)
    assert isinstance(made, rrule)  # noqa: S101 - of one rule
    return made
