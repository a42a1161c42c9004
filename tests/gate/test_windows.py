"""Windows, held against a reckoning of its own: every minute of local time, turned into the time since the epoch."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.gate import windows
from reconciler.gate.windows import FAR_S, Subject, closed, window_of
from reconciler.types.change import Risk

DB = Subject(address="ansible/role/shop/db-01.db", group="host/shop/db-01", risk=frozenset({Risk.REBOOT}), labels={"site": "ams1"})
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def window(start: str, duration: str, rule: str = "", zone: str = "Etc/UTC", **more: object) -> object:
    time = {"start": start, "duration": duration, "timezone": zone} | ({"recurrence": rule} if rule else {})
    return {"times": [time]} | more


def is_open(spec: object, now: float, subject: Subject = DB, tenant: str = "shop") -> bool:
    return closed([window_of(f"fleet/maintenancewindow/{tenant or '-'}/w", spec)], subject, now) is None  # type: ignore[arg-type]


@settings(max_examples=200)
@given(
    zone=st.sampled_from(["Etc/UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    length_h=st.integers(1, 30),
    days=st.sets(st.sampled_from(range(7)), min_size=1),
    now=st.integers(int(at("2026-02-20T00:00")), int(at("2028-11-10T00:00"))),
)
@example(
    zone="Europe/Amsterdam", hour=2, minute=30, length_h=1, days=set(range(7)), now=int(at("2026-03-29T01:45"))
)  # left out: 02:30 is 03:30
@example(zone="Europe/Amsterdam", hour=2, minute=30, length_h=1, days=set(range(7)), now=int(at("2026-10-25T00:45")))  # the first 02:30
@example(zone="Europe/Amsterdam", hour=2, minute=30, length_h=1, days=set(range(7)), now=int(at("2026-10-25T01:45")))  # not the second
@example(
    zone="Etc/UTC", hour=23, minute=0, length_h=4, days={1}, now=int(at("2028-02-29T23:30"))
)  # a leap day, a Tuesday, and across midnight
@example(zone="Etc/UTC", hour=23, minute=0, length_h=4, days={1}, now=int(at("2028-03-01T02:59")))
@example(zone="Etc/UTC", hour=23, minute=0, length_h=4, days={1}, now=int(at("2028-03-01T03:00")))
def test_weekly_windows(zone: str, hour: int, minute: int, length_h: int, days: set[int], now: int) -> None:
    rule = "FREQ=WEEKLY;BYDAY=" + ",".join(DAYS[day] for day in sorted(days))
    spec = window(f"2026-01-05T{hour:02}:{minute:02}", f"{length_h}h", rule, zone)
    here = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    begins = []
    for back in range(-9, 10):
        day = here + timedelta(days=back)
        if day.weekday() in days and day >= datetime(2026, 1, 5).date():
            begins.append(datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())
    expected = any(begin <= now < begin + 3600 * length_h for begin in begins)
    found = closed([window_of("fleet/maintenancewindow/shop/w", spec)], DB, now)  # type: ignore[arg-type]
    assert (found is None) is expected
    if found is not None:
        assert found.until == min(begin for begin in begins if begin > now), "it says when it opens"
        assert is_open(spec, found.until) and not is_open(spec, found.until - 1)


def test_a_clock_that_steps_back_is_believed() -> None:
    spec = window("2026-01-06T22:00", "4h")
    assert [is_open(spec, at(f"2026-01-0{t}")) for t in ("6T21:59", "6T22:00", "7T01:59", "7T02:00", "6T23:00", "6T21:00")] == [
        False,
        True,
        True,
        False,
        True,
        False,
    ]


def test_what_it_is_about() -> None:
    night = at("2026-01-06T12:00")
    spec = window("2026-01-06T22:00", "4h")
    other = Subject(address="ansible/role/lab/db-01.db", group="host/lab/db-01")
    assert is_open(spec, night, other), "another tenant"
    assert not is_open(spec, night, other, tenant=""), "a window of no tenant is about all"
    for narrower in ({"scopes": ["host/shop/web-*"]}, {"labels": {"site": "fra1"}}, {"risks": ["destructive"]}):
        assert is_open(spec | narrower, night), narrower  # type: ignore[operator]
    for wider in (
        {"scopes": ["host/shop/db-*"]},
        {"labels": {"site": "ams1"}},
        {"risks": ["reboot", "destructive"]},
        {"scopes": ["tenant/shop"]},
    ):
        assert not is_open(spec | wider, night), wider  # type: ignore[operator]


def test_several_windows_and_freezes() -> None:
    first = window_of("fleet/maintenancewindow/shop/a", window("2026-01-06T10:00", "2h"))  # type: ignore[arg-type]
    second = window_of("fleet/maintenancewindow/shop/b", window("2026-01-06T12:00", "2h"))  # type: ignore[arg-type]
    freeze = window_of("fleet/maintenancewindow/-/stop", window("2026-01-06T11:00", "30m", mode="freeze"))  # type: ignore[arg-type]
    all_of_them = [first, second, freeze]
    states = {t: closed(all_of_them, DB, at(f"2026-01-06T{t}")) for t in ("09:00", "10:30", "11:15", "11:45", "13:59", "14:00")}
    assert [state is None for state in states.values()] == [False, True, False, True, True, False]
    on = states["11:15"]
    assert (
        on is not None and "freeze stop is on" in on.reason and on.until == at("2026-01-06T11:30") and "octofleet override stop" in on.next
    )
    before = states["09:00"]
    assert before is not None and before.until == at("2026-01-06T10:00") and "2026-01-06 10:00 UTC" in before.next
    over = states["14:00"]
    assert over is not None and over.until == at("2026-01-06T14:00") + FAR_S and "no time of it is left" in over.reason
    assert closed(all_of_them, DB, at("2026-01-06T11:15"), [freeze.address]) is None
    assert closed(all_of_them, DB, at("2026-01-06T09:00"), [second.address]) is None, "one that does not count keeps nothing"
    assert closed(all_of_them, DB, at("2026-01-06T11:15"), [first.address]) is not None, "the freeze still does"


@pytest.mark.parametrize("wrong", [{"recurrence": "FREQ=WEEKLY;BYDAY=XX"}, {"timezone": "Mars/Olympus"}, {"start": "2026-02-30T10:00"}])
def test_what_cannot_be_understood(wrong: dict[str, str]) -> None:
    spec = {"times": [{"start": "2026-01-06T22:00", "duration": "4h"} | wrong]}
    with pytest.raises(ValueError):
        window_of("fleet/maintenancewindow/shop/w", spec)


def test_years_of_hours_cost_little() -> None:
    spec = window("2000-01-01T00:30", "30m", "FREQ=HOURLY", "Europe/Amsterdam")
    now = at("2026-03-29T01:45")
    assert is_open(spec, now) and not is_open(spec, now - 1800)
    assert datetime.fromtimestamp(now, UTC).year == 2026


def test_a_rule_is_looked_through_once_an_hour_for_however_many_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    starts = windows._starts
    monkeypatch.setattr(windows, "_starts", lambda time, after: looked.append(after) or starts(time, after))
    made = window_of("fleet/maintenancewindow/shop/w", window("2020-01-01T22:00", "4h", "FREQ=DAILY", "America/Lima"))  # type: ignore[arg-type]
    noon = at("2026-06-01T12:00", "America/Lima")
    looked.clear()
    for number in range(100):
        found = closed([made], replace(DB, address=f"ansible/role/shop/db-{number}.db"), noon + number)
        assert found is not None and found.until == at("2026-06-01T22:00", "America/Lima")
    assert len(looked) == 2, "for what is on in that hour, and for what comes next"
