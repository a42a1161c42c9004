"""When hosts are checked by drift schedules. Functions on a connection; the caller owns the transaction, and is alone in writing where it claims.

Whatever server claims a host has it: how many are begun and under way is counted here, whoever began them. A check whose process died is under way for
`LOST_S`, and the host is checked again at its next time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.gate.drift import Schedule
from reconciler.store.engine import Connection
from reconciler.store.hosts import ANSIBLE
from reconciler.store.records import records_of

LOST_S = 3600.0
"""No check takes longer: a call of a driver ends before."""
ENROLLED = 1000
"""Hosts that are taken up in one transaction."""
COLUMNS = ("group", "source", "interval_s", "due_at")
_OF_RECORD = "record.address >= 'ansible/role/' AND record.address < 'ansible/role0'"
FREE = (
    'SELECT "group" FROM host_check WHERE source = ? AND due_at <= ? AND (ended_at IS NOT NULL OR COALESCE(begun_at, 0) < ?) '  # noqa: S608 - from above
    "AND NOT EXISTS (SELECT 1 FROM run CROSS JOIN record CROSS JOIN item WHERE run.ended_at IS NULL "
    f'AND record.source = host_check.source AND record."group" = host_check."group" AND substr(record.address, 1, {len(ANSIBLE)}) = \'{ANSIBLE}\' '
    "AND item.run = run.id AND item.address = record.address AND item.status = '') "
    'ORDER BY due_at, "group" LIMIT ?'
)
"""Hosts that are due, the longest first, without those that an open run has not done yet. SQLite joins in this order: most often no run is open.
`substr`, and not a range, which it would search the items by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a host stands in the schedule: times in seconds since the epoch."""

    due_at: float
    begun_at: float | None
    ended_at: float | None


def enroll(connection: Connection, source: str, schedule: Schedule, now: float) -> int:
    """Take up hosts that have Ansible resources on record and are not in the schedule yet, or are by another interval; how many there were. Those
    that have none any more are let go when they are due."""
    query = (
        f'SELECT DISTINCT record."group" FROM record WHERE source = ? AND {_OF_RECORD} '  # noqa: S608 - from above
        'AND NOT EXISTS (SELECT 1 FROM host_check WHERE host_check."group" = record."group" AND host_check.source = record.source '
        "AND host_check.interval_s = ?) LIMIT ?"
    )
    new = sorted(group for (group,) in connection.rows(query, (source, schedule.interval_s, ENROLLED)))
    rows = [(group, source, schedule.interval_s, schedule.first(group, now)) for group in new]
    text = (
        'INSERT INTO host_check ("group", source, interval_s, due_at) VALUES (?, ?, ?, ?) ON CONFLICT ("group") DO UPDATE SET '
        "source = excluded.source, interval_s = excluded.interval_s, due_at = excluded.due_at"
    )
    connection.run_many(text, rows)
    return len(new)


def claim(connection: Connection, source: str, schedule: Schedule, now: float) -> list[str]:
    """Begin to check those hosts that are due longest, as many as there is room for: their groups. Not those that a run is about to change."""
    room = schedule.room(*_used(connection, source, schedule, now))
    if not room:
        return []
    free: list[str] = []
    while not free and (due := [group for (group,) in connection.rows(FREE, (source, now, now - LOST_S, room * 4 + 100))]):
        records = records_of(connection, source, due)
        known = {group for group, found in records.items() if any(where.startswith(ANSIBLE) for where, *_ in found)}
        connection.run_in('DELETE FROM host_check WHERE "group" IN (...)', [group for group in due if group not in known])
        free = [group for group in due if group in known][:room]
    connection.run_many(
        'UPDATE host_check SET begun_at = ?, ended_at = NULL, due_at = ? WHERE "group" = ?',
        [(now, schedule.following(group, now), group) for group in sorted(free)],
    )
    if free:
        connection.run("INSERT INTO check_spent (source, at, hosts) VALUES (?, ?, ?)", (source, now, len(free)))
        connection.run("DELETE FROM check_spent WHERE source = ? AND at <= ?", (source, now - schedule.per_s))
    return free


def _used(connection: Connection, source: str, schedule: Schedule, now: float) -> tuple[int, int]:
    """How many checks were begun within the budget's span, and how many are under way."""
    begun = connection.scalar("SELECT sum(hosts) FROM check_spent WHERE source = ? AND at > ?", (source, now - schedule.per_s))
    query = "SELECT count(*) FROM host_check WHERE source = ? AND begun_at > ? AND ended_at IS NULL"
    return int(begun or 0), int(connection.scalar(query, (source, now - LOST_S)))


def end_checks(connection: Connection, groups: Sequence[str], begun_at: float, now: float) -> None:
    """Note that the checks that began at a time are over."""
    rows = [(now, group, begun_at) for group in sorted(groups)]
    connection.run_many('UPDATE host_check SET ended_at = ? WHERE "group" = ? AND begun_at = ?', rows)


def checks_of(connection: Connection, groups: Sequence[str]) -> dict[str, Check]:
    """How these hosts stand in the schedule, as far as they are in one."""
    query = 'SELECT "group", due_at, begun_at, ended_at FROM host_check WHERE "group" IN (...)'
    return {
        group: Check(due_at=due, begun_at=begun, ended_at=ended) for group, due, begun, ended in connection.rows_in(query, sorted(groups))
    }


def next_due(connection: Connection, source: str, now: float) -> tuple[float | None, int]:
    """When the next check of a source is due, and how many hosts are due by now."""
    due = connection.scalar("SELECT min(due_at) FROM host_check WHERE source = ?", (source,))
    return due, int(connection.scalar("SELECT count(*) FROM host_check WHERE source = ? AND due_at <= ?", (source, now)))
