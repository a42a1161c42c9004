"""Alerts as they stand: channels in force, what is so, and what each receiver was told. Functions on a connection; the caller owns the transaction.

One process at a time sends: whose id stands in the row `alerts` of the table `about`. Who writes here calls `is_turn` first, which locks that row.
"""

from collections.abc import Collection, Iterable, Mapping

from reconciler.alert.channel import Channel, channel_of
from reconciler.alert.condition import Condition, Event
from reconciler.alert.line import Entry, Line
from reconciler.store.engine import Connection, upsert
from reconciler.store.records import in_force, locations
from reconciler.types.canonical import pack, unpack

ALERT = ("key", "event", "source", "tenant", "subject", "text", "next", "since", "about")
LINE = ("line", "sent", "unsaid", "failures", "retry_at", "error")
ENTRY = ("line", "key", "body", "at", "tried", "told_at", "over_at")
FREE = "(value IN ('', ?) OR NOT EXISTS (SELECT 1 FROM worker WHERE worker.id = about.value))"


def turn_may_come(connection: Connection, worker: str) -> bool:
    """Whether this worker sends, or nobody who lives does; changes nothing."""
    return connection.row(f"SELECT key FROM about WHERE key = 'alerts' AND {FREE}", (worker,)) is not None  # noqa: S608 - see above


def is_turn(connection: Connection, worker: str) -> bool:
    """Whether this worker, which must be known, sends; takes it over from one that is gone. It stays so until the transaction ends."""
    living = "EXISTS (SELECT 1 FROM worker WHERE id = ?)"
    query = f"UPDATE about SET value = ? WHERE key = 'alerts' AND {FREE} AND {living}"  # noqa: S608 - see above
    return connection.changed(query, (worker, worker, worker)) == 1


def channels_in_force(connection: Connection) -> list[Channel]:
    """Every AlertChannel as it was last applied."""
    found = ((source, in_force(connection, source, "alertchannel")) for source in locations(connection))
    return [channel_of(where, source, spec) for source, specs in found for where, spec in specs.items()]


def load_conditions(connection: Connection) -> dict[str, Condition]:
    """What was so when it was last looked, by key."""
    rows = connection.rows("SELECT key, event, source, tenant, subject, text, next, since, about FROM alert ORDER BY key")
    return {key: _condition(*row) for key, *row in rows}


def _condition(event: str, source: str, tenant: str, subject: str, text: str, then: str, since: float, about: str) -> Condition:
    return Condition(event=Event(event), source=source, tenant=tenant, subject=subject, text=text, next=then, since=since, about=about)


def _row(item: Condition) -> tuple[str, str, str, str, str, str, float, str]:
    return item.event.value, item.source, item.tenant, item.subject, item.text, item.next, item.since, item.about


def save_conditions(connection: Connection, before: Mapping[str, Condition], now: Mapping[str, Condition]) -> None:
    """Write what differs."""
    changed = [(key, *_row(item)) for key, item in sorted(now.items()) if before.get(key) != item]
    connection.run_many(upsert("alert", ALERT), changed)
    connection.run_in('DELETE FROM alert WHERE "key" IN (...)', sorted(before.keys() - now.keys()))


def load_lines(connection: Connection) -> dict[str, Line]:
    """How things stand with every receiver, by line."""
    entries: dict[str, dict[str, Entry]] = {}
    rows = connection.rows('SELECT line, "key", body, at, tried, told_at, over_at FROM alert_entry ORDER BY line, "key"')
    for line, key, body, at, tried, told_at, over_at in rows:
        condition = _condition(*unpack(body)["condition"])
        entries.setdefault(line, {})[key] = Entry(condition=condition, at=at, tried=bool(tried), told_at=told_at, over_at=over_at)
    found = {
        line: Line(
            entries=entries.pop(line, {}),
            sent=tuple(unpack(sent)["at"]),
            unsaid=unsaid,
            failures=failures,
            retry_at=retry_at,
            error=error,
        )
        for line, sent, unsaid, failures, retry_at, error in connection.rows(
            "SELECT line, sent, unsaid, failures, retry_at, error FROM alert_line ORDER BY line"
        )
    }
    return found | {line: Line(entries=items) for line, items in entries.items()}


def save_line(connection: Connection, name: str, before: Line, now: Line) -> None:
    """Write what differs of one line."""
    told = (pack({"at": list(now.sent)}), now.unsaid, now.failures, now.retry_at, now.error)
    if told != (pack({"at": list(before.sent)}), before.unsaid, before.failures, before.retry_at, before.error):
        connection.run(upsert("alert_line", LINE), (name, *told))
    changed = [
        (name, key, pack({"condition": list(_row(entry.condition))}), entry.at, entry.tried, entry.told_at, entry.over_at)
        for key, entry in sorted(now.entries.items())
        if before.entries.get(key) != entry
    ]
    connection.run_many(upsert("alert_entry", ENTRY, key=2), changed)
    gone = sorted(before.entries.keys() - now.entries.keys())
    connection.run_in('DELETE FROM alert_entry WHERE line = ? AND "key" IN (...)', gone, (name,))


def drop_lines(connection: Connection, names: Iterable[str]) -> None:
    """Forget receivers that there are no more."""
    for name in names:
        for table in ("alert_entry", "alert_line"):
            connection.run(f"DELETE FROM {table} WHERE line = ?", (name,))  # noqa: S608 - one of these two


def failing(connection: Connection) -> dict[str, tuple[int, str]]:
    """Of every receiver that could not be told the last time, how often in a row and why."""
    rows = connection.rows("SELECT line, failures, error FROM alert_line WHERE failures > 0 ORDER BY line")
    return {line: (failures, error) for line, failures, error in rows}


def seen_until(connection: Connection) -> float:
    """Until when runs that ended were looked at; 0.0 if never."""
    return float(connection.scalar("SELECT value FROM about WHERE key = 'alerts_seen'") or 0.0)


def save_seen(connection: Connection, at: float) -> None:
    """Runs were looked at until then."""
    connection.run(upsert("about", ("key", "value")), ("alerts_seen", repr(at)))


def open_alerts(connection: Connection, tenants: Collection[str] = ()) -> list[Condition]:
    """What is so now; of some tenants, or of all."""
    return [item for item in load_conditions(connection).values() if not tenants or item.tenant in tenants]
