"""What keeps changes from beginning: windows, freezes, pauses, overrides; and a person's word about them."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated

import msgspec

from reconciler import gating
from reconciler.errors import Refused
from reconciler.gate.closing import Pause
from reconciler.gate.windows import Window, opens
from reconciler.identity.access import Action, Resource
from reconciler.identity.sight import Sight
from reconciler.permitting import to_pause
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Reason
from reconciler.types.duration import seconds_of

Duration = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,5}[smhd]$", description="Such as 90m, 24h or 7d.")]
Scope = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=300, description="`fleet`, `tenant/NAME`, `host/TENANT/NAME` or `driver/kind/tenant/name`, with * and ?."
    ),
]


class WindowDocument(Document, frozen=True, kw_only=True):
    """A maintenance window or a freeze. `open`: whether changes may begin as far as it goes; `until`: when that has to be asked again."""

    source: str
    address: str
    name: str
    mode: str
    open: bool
    until: float | None
    overridden_until: float | None


class PauseDocument(Document, frozen=True, kw_only=True):
    """Nothing begins in a scope. `by` and `reason` only for who sees all that it is about."""

    id: str
    scope: str
    at: float
    until: float
    by: str
    reason: str


class GatesDocument(Document, frozen=True, kw_only=True):
    """All that is in force and that the caller sees."""

    windows: list[WindowDocument]
    pauses: list[PauseDocument]


class PauseAsk(Ask, frozen=True, kw_only=True):
    """Begin nothing in a scope, for a while."""

    scope: Scope
    reason: Reason
    duration: Duration = "1d"


class OverrideAsk(Ask, frozen=True, kw_only=True):
    """`window`: a name or an address, as `GET /gates` has it. `end`: it counts again."""

    window: str
    reason: Reason
    duration: Duration = "1h"
    end: bool = False


def gates(call: Call, ask: Ask) -> GatesDocument:
    """What is in force now."""
    del ask
    found, sight = gating.standing(call.installation), call.sight
    return GatesDocument(
        windows=[
            _window(source, window, found.now, found.gates.overridden.get((source, window.address)))
            for source, windows in sorted(found.gates.windows.items())
            for window in windows
            if _sees_window(sight, source, window)
        ],
        pauses=[shown for pause in found.gates.paused(found.now) if (shown := _pause(sight, pause)) is not None],
    )


def pause(call: Call, ask: PauseAsk) -> PauseDocument:
    """Begin nothing in a scope of any Fleet for a while."""
    gating.check_scope(ask.scope)
    call.permit("", to_pause(Action.PAUSE, ask.scope))
    made = gating.pause(call.installation, ask.scope, seconds_of(ask.duration), ask.reason, identity=call.identity)
    return _whole(made)


def end_pause(call: Call, ask: Ask) -> PauseDocument:
    """Go on in a scope."""
    del ask
    which, sight = call.path["pause"], call.sight
    seen = [one for one in gating.pauses_named(call.installation, which) if one.id == which and _pause(sight, one) is not None]
    if not seen:
        raise Refused(f"there is no pause {which}", hint="octofleet gates lists them", code="no-pause")
    (one,) = seen
    call.permit(one.source, to_pause(Action.RESUME, one.scope))
    gating.unpause(call.installation, one.id, identity=call.identity)
    return _whole(one)


def override(call: Call, ask: OverrideAsk) -> GatesDocument:
    """Have a window not count for a while, or again."""
    sees = partial(_sees_window, call.sight)
    for source, window in gating.windows_named(call.installation, ask.window, sees):
        call.permit(source, [(Action.OVERRIDE_WINDOW, Resource(source=source, tenant=window.tenant))])
    for_s = 0.0 if ask.end else seconds_of(ask.duration)
    gating.override(call.installation, ask.window, for_s, ask.reason, identity=call.identity, sees=sees)
    return gates(call, Ask())


def _sees_window(sight: Sight, source: str, window: Window) -> bool:
    """One without tenant is about everybody in its Fleet."""
    return sight.some_of(source, window.tenant) if window.tenant else sight.some(source)


def _window(source: str, window: Window, now: float, overridden: float | None) -> WindowDocument:
    closed = opens(window, now)
    return WindowDocument(
        source=source,
        address=window.address,
        name=window.name,
        mode="freeze" if window.freeze else "open",
        open=closed is None,
        until=closed.until if closed else None,
        overridden_until=overridden if overridden is not None and overridden > now else None,
    )


def _pause(sight: Sight, found: Pause) -> PauseDocument | None:
    """A pause, as far as it is seen: one of everything by whoever sees anything, without who and why."""
    sources = [found.source] if found.source else sorted(sight.access.fleets)
    ((_, about),) = to_pause(Action.VIEW, found.scope)
    if sources and _all(sight, sources, about):
        return _whole(found)
    if found.scope == "fleet" and any(sight.some(source) for source in sources):
        return PauseDocument(id=found.id, scope=found.scope, at=found.at, until=found.until, by="", reason="")
    return None


def _all(sight: Sight, sources: Iterable[str], about: Resource) -> bool:
    """Whether all that it is about is seen, in each of these Fleets that has it."""
    return all(sight.sees(source, about.tenant, about.group) for source in _having(sight, sources, about.tenant))


def _having(sight: Sight, sources: Iterable[str], tenant: str) -> Iterator[str]:
    """The Fleets in which the caller sees anything of a tenant; all, if he sees none, or it is about every tenant."""
    known = list(sources)
    having = [source for source in known if tenant and sight.some_of(source, tenant)]
    return iter(having or known)


def _whole(found: Pause) -> PauseDocument:
    return PauseDocument(id=found.id, scope=found.scope, at=found.at, until=found.until, by=found.identity, reason=found.reason)
