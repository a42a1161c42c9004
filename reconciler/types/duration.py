"""Durations as manifests and commands write them: `90s`, `30m`, `4h`, `7d`."""

import re
from datetime import UTC, datetime

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"[1-9][0-9]{0,5}[smhd]")


def seconds_of(text: str) -> float:
    """The seconds that a duration lasts. Raises `ValueError`."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration such as 90m, 24h or 7d")
    return float(text[:-1]) * _SECONDS[text[-1]]


def utc(at: float) -> str:
    """A time to come, for people: to the minute, in UTC, as windows and approvals hold for people in many zones."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
