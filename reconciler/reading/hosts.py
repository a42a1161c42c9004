"""Hosts: which there are, and how each stands."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from reconciler.reading.call import Call
from reconciler.reading.paging import Document, Paged, after, cursor_of, one_of
from reconciler.reading.picture import Stand, State
from reconciler.reading.seen import Seen, seen

OneState = Annotated[str, one_of(State)]
Text = Annotated[str, msgspec.Meta(max_length=300)]


class HostsAsk(Paged, frozen=True, kw_only=True):
    """`text`: a part of a host's or a tenant's name, or the end of the one and the beginning of the other (`TENANT/NAME`); `state`: of the host, or of
    the `driver`'s part of it, if one is named."""

    text: Text = ""
    tenant: Text = ""
    state: OneState = ""
    driver: Text = ""


class HostRow(Document, frozen=True, kw_only=True):
    """`drivers`: how each driver's part of the host stands."""

    ref: str
    source: str
    tenant: str
    name: str
    state: State
    drivers: dict[str, State]


class HostList(Document, frozen=True, kw_only=True):
    """By tenant and name. `at`: of when this is, in seconds since the epoch; `asked` as it came, for the form."""

    items: list[HostRow]
    at: float
    asked: HostsAsk
    next: str = ""


def hosts(call: Call, ask: HostsAsk) -> HostList:
    """A page of the hosts that the caller sees."""
    found = seen(call)
    items: list[HostRow] = []
    for source, tenant, name, stand in matching(found, ask):
        if len(items) == ask.limit:
            last = items[-1]
            return HostList(items=items, at=found.picture.at, asked=ask, next=cursor_of(last.tenant, last.source, last.name))
        items.append(row(source, tenant, name, stand))
    return HostList(items=items, at=found.picture.at, asked=ask)


def row(source: str, tenant: str, name: str, stand: Stand) -> HostRow:
    """One host of a list."""
    ref = f"host/{tenant}/{name}"
    return HostRow(ref=ref, source=source, tenant=tenant, name=name, state=stand.state, drivers=dict(stand.drivers))


def matching(found: Seen, ask: HostsAsk) -> Iterator[tuple[str, str, str, Stand]]:
    """Source, tenant, name and stand of the hosts that are asked for, after the cursor. Raises `Refused` for a cursor that no list gave."""
    key = after(ask.cursor, str, str, str)
    stands = found.picture.stands
    wanted = {number for number, stand in enumerate(stands) if _is_asked(stand, ask)}
    for part in found.parts(ask.tenant):
        source, tenant = part.key
        if key is not None and (tenant, source) < (key[0], key[1]):
            continue
        begin = key[2] if key is not None and (tenant, source) == (key[0], key[1]) else ""
        said, slash, rest = ask.text.rpartition("/")
        if not tenant.endswith(said) and slash:
            continue
        text = "" if not slash and ask.text in tenant else rest
        for name, number in part.each(text, begin):
            if number in wanted and (not slash or name.startswith(rest)):
                yield source, tenant, name, stands[number]


def _is_asked(stand: Stand, ask: HostsAsk) -> bool:
    if ask.driver:
        return any(driver == ask.driver and ask.state in ("", state) for driver, state in stand.drivers)
    return ask.state in ("", stand.state)
