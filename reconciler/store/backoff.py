"""Resources whose changes failed, and until when a plan that nobody looks on leaves them alone. Functions on a connection; the caller owns the
transaction."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.store.engine import Connection, upsert
from reconciler.types.outcome import Status

FIRST_S, MOST_S = 30.0, 3600.0
BAD = frozenset({Status.FAILED, Status.PARTIAL, Status.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A resource that failed and is left alone until then."""

    address: str
    failures: int
    until: float
    reason: str


def back_off(connection: Connection, statuses: Mapping[str, tuple[Status, str]], now: float) -> None:
    """Note how changes ended, by address: a failed one is left alone for a time that doubles with each failure, one that is done no longer."""
    bad = sorted(address for address, (status, _) in statuses.items() if status in BAD)
    known = dict(connection.rows_in("SELECT address, failures FROM backoff WHERE address IN (...)", bad))
    rows = []
    for address in bad:
        failures = known.get(address, 0) + 1
        wait_s = min(FIRST_S * 2.0 ** min(failures - 1, 20), MOST_S) * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
        rows.append((address, failures, now + wait_s, statuses[address][1]))
    connection.run_many(upsert("backoff", ("address", "failures", "until", "reason")), rows)
    good = sorted(address for address, (status, _) in statuses.items() if status is Status.DONE)
    connection.run_in("DELETE FROM backoff WHERE address IN (...)", good)


def backing_off(connection: Connection, after: tuple[float, str] = (0.0, ""), most: int = -1) -> Iterator[Backoff]:
    """What is to be left alone now, the first to be tried again first: after a time and an address, and so many at most (-1: all)."""
    query = "SELECT address, failures, until, reason FROM backoff WHERE until > ? AND (until > ? OR until = ? AND address > ?) ORDER BY until, address"
    limit = "" if most < 0 else f" LIMIT {most:d}"
    for address, failures, until, reason in connection.rows(query + limit, (connection.now(), after[0], *after)):
        yield Backoff(address=address, failures=failures, until=until, reason=reason)
