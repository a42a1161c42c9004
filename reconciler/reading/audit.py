"""The audit trail: rows about tenants whose trail the caller may read, and no others."""

from functools import cache
from typing import Any

from reconciler.identity.access import Action
from reconciler.reading.call import Call
from reconciler.reading.paging import Document, Paged, after, cursor_of
from reconciler.store.audit import entries
from reconciler.store.engine import Connection
from reconciler.store.runs import tenants_of_run
from reconciler.types.audit import Row

PART, READ_MOST = 500, 20_000
"""Rows that are read at once, and for one answer, which may then have fewer items than it could."""


class AuditAsk(Paged, frozen=True, kw_only=True):
    """Only of this identity, this action, this run, this plan (a whole id), or from a time on, in seconds since the epoch."""

    who: str = ""
    action: str = ""
    run: str = ""
    plan: str = ""
    since: float | None = None


class AuditRow(Document, frozen=True, kw_only=True):
    """Who said or did what, about what. `hash`: of the chain."""

    seq: int
    at: float
    identity: str
    action: str
    subjects: list[str]
    tenants: list[str]
    source: str
    plan: str
    commit: str
    run: str
    reason: str
    details: dict[str, Any]
    hash: str


class Audit(Document, frozen=True, kw_only=True):
    """Newest first."""

    items: list[AuditRow]
    next: str = ""


def audit(call: Call, ask: AuditAsk) -> Audit:
    """A page of it."""
    key = after(ask.cursor, int)
    before, found, read = (key[0] if key else None), list[AuditRow](), 0
    filters = {"who": ask.who, "action": ask.action, "run": ask.run, "plan": ask.plan, "since": ask.since}
    may = cache(lambda source, tenant: call.may(Action.READ_AUDIT, source, tenant))
    with call.installation.store.read() as connection:
        all_of_it = may("", "")
        while read < READ_MOST:
            rows = entries(connection, before=before, limit=PART, **filters)  # type: ignore[arg-type]
            for row in rows:
                if len(found) == ask.limit:
                    return Audit(items=found, next=cursor_of(found[-1].seq))
                if all_of_it or may(row.source, "") or _of_tenants(connection, may, row):
                    found.append(_document(row))
            if len(rows) < PART:
                return Audit(items=found)
            before, read = rows[-1].seq, read + len(rows)
    return Audit(items=found, next=cursor_of(before))


def _of_tenants(connection: Connection, may: Any, row: Row) -> bool:
    """Whether it is about tenants whose trail may be read, and no others; a row about a run is about the tenants of that."""
    tenants = set(row.tenants) or (tenants_of_run(connection, row.run) if row.run else set())
    return bool(tenants) and "" not in tenants and all(may(row.source, tenant) for tenant in tenants)


def _document(row: Row) -> AuditRow:
    return AuditRow(**{name: text for name, text in row.fields().items() if name != "previous"})
