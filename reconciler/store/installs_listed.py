"""Installations as they are listed: many, and without the long texts that they hold. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.store.engine import Connection
from reconciler.store.installs import COLUMNS
from reconciler.types.installation import Installation, Power, State

PART = 1000
GOING_ON = ("armed", "booting", "installing")
ENDED = ("installed", "failed", "expired", "cancelled")
LABELS = (*GOING_ON, *ENDED)
"""As people are told how one stands."""
BRIEF = tuple(name for name in COLUMNS if name not in ("log", "facts"))
SELECT = f"SELECT {', '.join(f'installation.{name}' for name in BRIEF)} FROM installation"  # noqa: S608 - names from above
BOOTING = "state = 'armed' AND claimed_at IS NOT NULL"
OPEN_AS = {
    "": "",
    "armed": " AND state = 'armed' AND claimed_at IS NULL",
    "booting": f" AND {BOOTING}",
    "installing": " AND state = 'installing'",
}
BADLY = (
    f"{SELECT} WHERE state IN ('failed', 'expired') "  # noqa: S608 - names from above
    "AND NOT EXISTS (SELECT 1 FROM installation AS newer WHERE newer.tenant = installation.tenant AND newer.host = installation.host "
    "AND newer.armed_at > installation.armed_at) "
    "AND NOT EXISTS (SELECT 1 FROM installed WHERE installed.tenant = installation.tenant AND installed.host = installation.host "
    "AND installed.generation >= installation.generation) "
    "AND NOT (state = 'failed' AND attempt < attempts AND EXISTS "
    "(SELECT 1 FROM run WHERE run.id = installation.run AND run.ended_at IS NULL)) "
    "AND EXISTS (SELECT 1 FROM record WHERE record.address = 'netboot/machine/' || installation.tenant || '/' || installation.host) "
    "ORDER BY tenant, host"
)


def listed(connection: Connection, label: str, key: Sequence[Any] | None, most: int) -> list[Installation]:
    """So many that stand so, after the one with this key (`key_of`): those that go on the oldest first, those that have ended the newest. Without a label
    all that go on."""
    if label in OPEN_AS:
        after = "" if key is None else " AND (armed_at, id) > (?, ?)"
        query = f"{SELECT} WHERE ended_at IS NULL{OPEN_AS[label]}{after} ORDER BY armed_at, id LIMIT ?"
        return [_brief(row) for row in connection.rows(query, (*(key or ()), most))]
    after = "" if key is None else " AND (ended_at, id) < (?, ?)"
    query = f"{SELECT} WHERE ended_at IS NOT NULL AND state = ?{after} ORDER BY ended_at DESC, id DESC LIMIT ?"
    return [_brief(row) for row in connection.rows(query, (label, *(key or ()), most))]


def all_listed(connection: Connection) -> Iterator[Installation]:
    """All that go on, read in parts."""
    key: tuple[float, str] | None = None
    while part := listed(connection, "", key, PART):
        yield from part
        key = key_of(part[-1])


def open_of_operation(connection: Connection, operation: str) -> list[Installation]:
    """Those of a step that go on."""
    query = f"{SELECT} WHERE operation = ? AND ended_at IS NULL ORDER BY tenant, host"
    return [_brief(row) for row in connection.rows(query, (operation,))]


def open_of_run(connection: Connection, run: str) -> list[Installation]:
    """Those of a run that go on."""
    query = f"{SELECT} WHERE run = ? AND ended_at IS NULL ORDER BY tenant, host"
    return [_brief(row) for row in connection.rows(query, (run,))]


def key_of(item: Installation) -> tuple[float, str]:
    """What `listed` goes on after."""
    return (item.armed_at if item.ended_at is None else item.ended_at), item.id


def numbers(connection: Connection) -> Mapping[str, int]:
    """How many that go on stand how, by label."""
    found = dict.fromkeys(GOING_ON, 0)
    for _, _, label, number in tallies(connection):
        found[label] += number
    return found


def tallies(connection: Connection) -> list[tuple[str, str, str, int]]:
    """The same by source and tenant: these, the label, and how many."""
    label = f"CASE WHEN {BOOTING} THEN 'booting' ELSE state END AS label"
    query = f"SELECT source, tenant, {label}, count(*) FROM installation WHERE ended_at IS NULL GROUP BY source, tenant, label"  # noqa: S608 - see above
    return list(connection.rows(query))


def ended_badly(connection: Connection) -> list[Installation]:
    """Those that failed or expired and were the last of their host, which is still to boot from the network and was not installed with that generation
    otherwise. One that failed is none of them while its run has attempts left."""
    return [_brief(row) for row in connection.rows(BADLY)]


def _brief(row: tuple[Any, ...]) -> Installation:
    fields = dict(zip(BRIEF, row, strict=True))
    return Installation(**fields | {"state": State(fields["state"]), "power": Power(fields["power"])})
