"""A run as it goes on: what happens in it, as events, and which of them somebody sees."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from reconciler.errors import Refused
from reconciler.identity.access import Action
from reconciler.identity.sight import Sight
from reconciler.reading import runs
from reconciler.reading.call import Call
from reconciler.reading.paging import MOST_NUMBER, Ask, Document
from reconciler.scope import in_scope
from reconciler.store.archive import Line, log_after
from reconciler.store.engine import Connection
from reconciler.store.live import addresses_of_steps, ended_in, last_line, states_of
from reconciler.store.phases import PhaseRow, load_phases
from reconciler.store.runs import tenants_of_run
from reconciler.types.resource import tenant_of

PART = 500
"""Lines that are read at once."""


class WatchAsk(Ask, frozen=True, kw_only=True):
    """`after`: only what comes after this event; the header `Last-Event-ID` goes before it."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MOST_NUMBER)] = 0


class LogEvent(Document, frozen=True, kw_only=True, tag="log", tag_field="event"):
    """A line of the log. Its number is the event's id."""

    step: int
    at: float
    text: str


class ChangeEvent(Document, frozen=True, kw_only=True, tag="change", tag_field="event"):
    """A change has ended so. Told before the line of the log that says it; after a reconnection perhaps again."""

    step: int
    address: str
    action: str
    status: str
    error: str
    ended_at: float


class PhaseEvent(Document, frozen=True, kw_only=True, tag="phase", tag_field="event"):
    """How a part of a rollout stands. Perhaps told again."""

    tenant: str
    track: str
    number: int
    title: str
    state: str
    note: str
    opens_at: float | None


class RunEvent(Document, frozen=True, kw_only=True, tag="run", tag_field="event"):
    """How the run stands; with `endedAt` the last event. Perhaps told again."""

    state: str
    ended_at: float | None


Event = LogEvent | ChangeEvent | PhaseEvent | RunEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What somebody sees of a run: all of it, these tenants, and of others what is in a scope. Equal for those who see the same."""

    whole: bool
    tenants: frozenset[str] = frozenset()
    scopes: frozenset[tuple[str, str]] = frozenset()

    def sees_tenant(self, tenant: str) -> bool:
        """All of a tenant."""
        return self.whole or tenant in self.tenants

    def sees(self, address: str) -> bool:
        """One address."""
        tenant = tenant_of(address)
        return self.sees_tenant(tenant) or any(tenant == of and in_scope(address, scope) for of, scope in self.scopes)

    def sees_line(self, line: Line, addresses: Collection[str]) -> bool:
        """A line of the log, by all addresses of its step. A line about all of a run has the number 0, as the first step does: one of these is seen if it
        begins with a change that is."""
        if self.whole:
            return True
        if line.step:
            return bool(addresses) and all(map(self.sees, addresses))
        _, _, rest = line.text.partition(" ")
        return any(rest.startswith(f"{address}:") and self.sees(address) for address in addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A run that somebody follows, after the event that he has seen last. `over`: it has ended, and he knows all of it."""

    run: str
    source: str
    tenants: frozenset[str]
    view: View
    after: int
    ended: bool
    over: bool


def watch(call: Call, ask: WatchAsk) -> Watch:
    """Follow a run. Raises `Refused` if the caller sees none."""
    _, found = runs.found(call)
    with call.installation.store.read() as connection:
        tenants = frozenset(tenants_of_run(connection, found.run))
        last = last_line(connection, found.run)
        ((_, ended_at),) = states_of(connection, [found.run]).values()
    if ask.after > last and ended_at is None:
        raise Refused("the run has no such event yet", hint="leave `after` and Last-Event-ID out to begin at the beginning", code="usage")
    ended = ended_at is not None
    view = view_of(call.sight, found.source, tenants)
    over = ended and ask.after >= max(last, 1)
    return Watch(run=found.run, source=found.source, tenants=tenants, view=view, after=ask.after, ended=ended, over=over)


def view_of(sight: Sight, source: str, tenants: Collection[str]) -> View:
    """What is seen of a run that changes something of these tenants."""
    full = frozenset(tenant for tenant in tenants if sight.of_tenant(source, tenant))
    whole = sight.whole(source) or (bool(tenants) and full == frozenset(tenants))
    held = {tenant: sight.access.held(sight.identity, Action.VIEW, source, tenant) for tenant in tenants if tenant not in full}
    return View(
        whole=whole, tenants=full, scopes=frozenset((of, scope) for of, all_of in held.items() for b in all_of for scope in b.scopes)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new of one run, for whoever sees all of it. `addresses`: what the steps of the lines change."""

    lines: tuple[Line, ...] = ()
    addresses: Mapping[int, Collection[str]] = field(default_factory=dict)
    changes: tuple[tuple[str, ChangeEvent], ...] = ()
    phases: tuple[PhaseRow, ...] = ()
    state: RunEvent | None = None

    def seen(self, view: View) -> Iterator[tuple[int, Event]]:
        """Number (0 for none) and event of each that somebody sees."""
        yield from ((0, change) for tenant, change in self.changes if view.sees_tenant(tenant) or view.sees(change.address))
        yield from ((0, _phase(row)) for row in self.phases if view.sees_tenant(row.tenant))
        for line in self.lines:
            if view.sees_line(line, self.addresses.get(line.step, ())):
                yield line.id, LogEvent(step=line.step, at=line.at, text=line.text)
        if self.state is not None:
            yield 0, self.state


def news(connection: Connection, run: str, lines: Iterable[Line], state: RunEvent | None, *, phases: bool = True) -> News:
    """What has come with new lines: each change that ends is told of by a line of its step."""
    lines = tuple(lines)
    steps = {line.step for line in lines}
    changes = [
        (item.tenant, ChangeEvent(step=item.step, address=item.address, action=item.action, status=item.status, error=item.error, ended_at=item.ended_at))
        for item in (ended_in(connection, run, steps) if steps else ())
    ]  # fmt: skip
    return News(
        lines=lines,
        addresses=addresses_of_steps(connection, run, steps) if steps else {},
        changes=tuple(changes),
        phases=tuple(row for row in load_phases(connection, run) if row.track) if phases else (),
        state=state,
    )


def before(connection: Connection, watch: Watch, after: int, until: int) -> tuple[News, int]:
    """The next part of what happened before somebody came, and where the one after it begins; with the last part how the run stands."""
    lines = log_after(connection, watch.run, after, PART, until=until)
    last = len(lines) < PART
    state = _state(*states_of(connection, [watch.run]).get(watch.run, ("", None))) if last else None
    return news(connection, watch.run, lines, state, phases=last), until if last else lines[-1].id


def _state(state: str, ended_at: float | None) -> RunEvent:
    return RunEvent(state=state, ended_at=ended_at)


def _phase(row: PhaseRow) -> PhaseEvent:
    return PhaseEvent(
        tenant=row.tenant,
        track=row.track,
        number=row.number,
        title=row.title,
        state=row.state,
        note=row.note,
        opens_at=row.opens_at,
    )
