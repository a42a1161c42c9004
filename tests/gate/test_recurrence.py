"""Recurrence rules: what they may say, and that counting from near gives what counting from the first one gives."""

from datetime import datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gate.recurrence import check, starts
from reconciler.gate.windows import opens, window_of

START = datetime(2001, 1, 31, 2, 30)
MINUTES = ",".join(map(str, range(60)))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is a number"),
        ("FREQ=DAILY;INTERVAL=99999", "INTERVAL is a number"),
        ("FREQ=DAILY;COUNT=-1", "COUNT is a number"),
        ("FREQ=DAILY;FREQ=SECONDLY", "says FREQ twice"),
        ("FREQ=MINUTELY", "FREQ is one of"),
        ("INTERVAL=2", "FREQ is one of"),
        ("FREQ=DAILY;BYSECOND=1", "no part 'BYSECOND'"),
        ("FREQ=YEARLY;BYEASTER=0", "no part 'BYEASTER'"),
        ("FREQ=DAILY;", "no part ''"),
        ("FREQ=HOURLY;BYHOUR=25", "BYHOUR=25 is out of range"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 is out of range"),
        ("FREQ=YEARLY;BYMONTH=-1", "BYMONTH=-1 is out of range"),
        ("FREQ=DAILY;BYHOUR=" + "9" * 250, "is out of range"),
        ("FREQ=MONTHLY;BYDAY=99MO", "BYDAY=99MO is no day"),
        ("FREQ=WEEKLY;BYDAY=", "BYDAY= is no day"),
        (f"FREQ=HOURLY;BYMINUTE={MINUTES}", "more than 24 times a day"),
        ("FREQ=HOURLY;BYSETPOS=2", "BYSETPOS chooses nothing"),
        ("FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30", "never occurs"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "never occurs"),
        ("FREQ=DAILY;UNTIL=20000101", "never occurs"),
        ("FREQ=DAILY;UNTIL=x", "UNTIL"),
        ("FREQ=WEEKLY;WKST=XX", "WKST"),
    ],
)
def test_a_rule_that_no_window_takes(rule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check(rule, START)


rules = st.builds(
    lambda frequency, interval, days, hours, months: ";".join(filter(None, (f"FREQ={frequency}", f"INTERVAL={interval}", days, hours, months))),
    st.sampled_from(("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")),
    st.integers(1, 30),
    st.sampled_from(("", "BYDAY=MO", "BYDAY=TU,SU;WKST=SU", "BYMONTHDAY=-1,13", "BYYEARDAY=40,-160")),
    st.sampled_from(("", "BYHOUR=2,14", "BYMINUTE=5,50")),
    st.sampled_from(("", "BYMONTH=2,7")),
)  # fmt: skip
times = st.datetimes(datetime(1970, 1, 2), datetime(2005, 1, 1))


@settings(deadline=None, max_examples=100)
@given(rules, times.map(lambda at: at.replace(second=0, microsecond=0)), st.integers(0, 4000))
def test_counting_from_near_is_counting_from_the_first(rule: str, start: datetime, later: int) -> None:
    after = start + timedelta(days=later)
    try:
        check(rule, start)
    except ValueError:
        return
    far = list(islice(rrulestr(rule, dtstart=start).xafter(after, inc=True), 5))
    assert list(islice(starts(rule, start, after), 5)) == far


@pytest.mark.parametrize(
    ("time", "why"),
    [
        ({"start": "0001-01-01T00:00"}, "it begins in 1"),
        ({"start": "9999-12-31T23:59"}, "it begins in 9999"),
        ({"start": "2026-02-30T00:00"}, "out of range"),
        ({"timezone": "Europe"}, "no time zone Europe"),
        ({"timezone": "Mars/Olympus"}, "no time zone Mars/Olympus"),
        ({"timezone": "../../etc/passwd"}, "ZoneInfo"),
        ({"recurrence": "FREQ=DAILY", "duration": "999999d"}, "at most 366 days"),
    ],
)
def test_a_time_that_no_window_takes(time: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        window_of("fleet/maintenancewindow/-/w", {"times": [{"start": "2026-01-01T00:00", "duration": "1h"} | time]})


def test_a_freeze_may_last_as_long_as_anybody() -> None:
    time = {"start": "1970-01-02T00:00", "duration": "999999d", "timezone": "Asia/Tokyo"}
    found = opens(window_of("fleet/maintenancewindow/-/w", {"mode": "freeze", "times": [time]}), 1e9)
    assert found is not None and found.until > 1e9
