"""A person's word about gates: approvals and rejections of plans, promotions of rollouts, pauses of a part of the fleet, overrides of windows.

The edge around `gate`: every word is one transaction.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reconciler.errors import Refused
from reconciler.gate.approvals import Approval
from reconciler.gate.closing import Gates, Pause
from reconciler.gate.windows import Window
from reconciler.identity.local import whoami
from reconciler.scope import has_open_class, is_scope
from reconciler.store.approvals import save_approval
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.followed import ask
from reconciler.store.gates import end_overrides, end_pauses, load_gates, new_id, save_override, save_pause
from reconciler.store.phases import PhaseRow, promote
from reconciler.store.plans import load_outlined
from reconciler.store.records import fleet_in_force
from reconciler.store.runs import open_run, write_log
from reconciler.types.audit import Entry
from reconciler.types.canonical import digest
from reconciler.types.duration import seconds_of
from reconciler.types.plan import Plan
from reconciler.types.resource import tenant_of
from reconciler.wiring import Installation

APPROVAL_S = 7 * 86_400.0
Sees = Callable[[str, Window], bool]
"""Whether somebody sees a window of a source."""


def nothing_more(connection: Connection, made: object) -> None:
    """For a word that nobody waits to have answered in its transaction."""
    del connection, made


def word(
    connection: Connection, source: str, plan: str, changes: Iterable[str], reason: str, *, yes: bool = True, identity: str = ""
) -> Approval:
    """Somebody, by default who runs this process, speaks of all changes of the plan with this id, given by their digests, which he has seen."""
    now = connection.now()
    said = fleet_in_force(connection, source).get("approvalExpiry")
    made = Approval(
        id=new_id(),
        identity=identity or whoami(),
        at=now,
        expires_at=now + (seconds_of(said) if said else APPROVAL_S),
        reason=reason,
        changes=frozenset(changes),
        yes=yes,
    )
    save_approval(connection, plan, made)
    return made


def tenants_of(plan: Plan) -> tuple[str, ...]:
    """The tenants that a plan touches, for the audit trail."""
    return _tenants_at(change.address for change in plan.changes)


def _tenants_at(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({tenant_of(address) for address in addresses} - {""}))


def approve(
    installation: Installation,
    row: int,
    reason: str,
    *,
    yes: bool,
    identity: str = "",
    also: Callable[[Connection, Approval], object] = nothing_more,
) -> Approval:
    """Approve or reject a stored plan, and in the same transaction do `also` something. Raises `Refused` for one that changes nothing."""
    with installation.store.write() as connection:
        plan = load_outlined(connection, row)
        if not plan.digests:
            raise Refused(f"plan {plan.id[:12]} changes nothing", hint="octofleet plan makes a new one", code="nothing-to-approve")
        ask(connection, plan.location)  # whoever follows the repository goes on at once
        made = word(connection, plan.head.source, plan.id, plan.digests, reason, yes=yes, identity=identity)
        also(connection, made)
        details = {"approval": made.id, "changes": len(made.changes), "digest": digest(sorted(made.changes)), "until": made.expires_at}
        entry = Entry(
            identity=made.identity,
            action="approve" if yes else "reject",
            source=plan.head.source,
            plan=plan.id,
            commit=plan.head.commit,
            tenants=_tenants_at(plan.columns.addresses),
            reason=reason,
            details=details,
        )
        record(connection, entry)
    return made


def promoted(
    installation: Installation, run_id: str, reason: str, *, soaked: bool, tenant: str | None, track: str | None, identity: str = ""
) -> list[PhaseRow]:
    """Have a run's rollouts go on, by the word of who runs this process unless it is somebody else's. Raises `Refused` if none waits for that."""
    with installation.store.write() as connection:
        run, by = open_run(connection, run_id), identity or whoami()
        now = connection.now()
        moved = promote(connection, run_id, now, soaked=soaked, tenant=tenant, track=track)
        if not moved:
            raise Refused(
                f"no rollout of run {run_id} waits for a person", hint="octofleet status --why says what it waits for", code="not-held"
            )
        lines = [(0, now, f"promoted by {by}: {phase.tenant}, {phase.title}: {reason}") for phase in moved]
        write_log(connection, run_id, lines)
        record(
            connection,
            Entry(
                identity=by,
                action="promote",
                subjects=tuple(f"{phase.track}: {phase.title}" for phase in moved),
                tenants=tuple(sorted({phase.tenant for phase in moved})),
                source=run.source,
                run=run_id,
                reason=reason,
                details={"soaked": soaked},
            ),
        )
    return moved


def pause(
    installation: Installation,
    scope: str,
    for_s: float,
    reason: str,
    source: str = "",
    *,
    identity: str = "",
    also: Callable[[Connection, Pause], object] = nothing_more,
) -> Pause:
    """Begin nothing in a scope (`fleet`: nowhere) for so many seconds; `also` as in `approve`. Raises `Refused` for what is no scope."""
    check_scope(scope)
    with installation.store.write() as connection:
        now = connection.now()
        made = Pause(id=new_id(), source=source, scope=scope, identity=identity or whoami(), at=now, until=now + for_s, reason=reason)
        save_pause(connection, made)
        also(connection, made)
        record(
            connection,
            Entry(
                identity=made.identity,
                action="pause",
                subjects=(scope,),
                tenants=_tenants([scope]),
                source=source,
                reason=reason,
                details={"pause": made.id, "until": made.until},
            ),
        )
    return made


def check_scope(scope: str) -> None:
    """Raises `Refused` for what nothing could be paused by."""
    if scope != "fleet" and not is_scope(scope):
        hint = "fleet, tenant/NAME, host/TENANT/NAME or driver/kind/tenant/name, with * and ?"
        raise Refused(f"{scope} is no scope", hint=hint, code="scope")


def tenant_of_scope(scope: str) -> str:
    """The one tenant that a scope is in; empty for one across tenants, such as a pattern."""
    kind, *rest = scope.split("/")
    tenant = rest[1] if len(rest) == 3 else rest[0] if kind in ("host", "tenant") and rest else ""
    return "" if any(char in tenant for char in "*?[") or tenant == "-" or has_open_class(scope) else tenant


def _tenants(scopes: Iterable[str]) -> tuple[str, ...]:
    """For the audit trail: none if one of them is across tenants."""
    found = {tenant_of_scope(scope) for scope in scopes}
    return () if "" in found else tuple(sorted(found))


def pauses_named(installation: Installation, which: str) -> list[Pause]:
    """The pauses with this id or scope."""
    found = standing(installation)
    return [pause for pause in found.gates.paused(found.now) if which in (pause.id, pause.scope)]


def unpause(
    installation: Installation,
    which: str,
    *,
    identity: str = "",
    source: str | None = None,
    also: Callable[[Connection, list[Pause]], object] = nothing_more,
) -> list[Pause]:
    """End the pauses with this id or scope; of one Fleet, or of all. `also` as in `approve`."""
    with installation.store.write() as connection:
        ended = end_pauses(connection, which, source)
        also(connection, ended)
        if ended:
            scopes = tuple(sorted({pause.scope for pause in ended}))
            record(
                connection,
                Entry(
                    identity=identity or whoami(),
                    action="resume",
                    subjects=scopes,
                    tenants=_tenants(scopes),
                    source=source or "",
                    details={"pauses": [pause.id for pause in ended]},
                ),
            )
        return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All gates of steps, and the time that they were asked at."""

    gates: Gates
    now: float


def standing(installation: Installation) -> Standing:
    """What is in force now."""
    with installation.store.read() as connection:
        return Standing(gates=load_gates(connection), now=connection.now())


def windows_named(installation: Installation, name: str, sees: Sees = lambda source, window: True) -> Sequence[tuple[str, Window]]:
    """Source and window of each that has this name (`shop/nights`) or address, as far as whoever asks `sees` it. Raises `Refused` if none has."""
    found = [
        (of, window)
        for of, windows in standing(installation).gates.windows.items()
        for window in windows
        if name in (window.name, window.address) and sees(of, window)
    ]
    if not found:
        raise Refused(f"no window {name} is in force", hint="octofleet gates lists them", code="no-window")
    return found


def override(
    installation: Installation,
    name: str,
    for_s: float,
    reason: str,
    *,
    identity: str = "",
    sees: Sees = lambda source, window: True,
) -> Sequence[tuple[str, Window]]:
    """Have a window (`shop/nights`, or its address) not count for so many seconds; for 0, count again. Gives the source and the window of each that
    has this name. Raises `Refused` if none has."""
    windows = windows_named(installation, name, sees)
    who = identity or whoami()
    with installation.store.write() as connection:
        for source, window in windows:
            if for_s:
                save_override(connection, source, window.address, who, connection.now() + for_s, reason)
            else:
                end_overrides(connection, source, window.address)
        sources, tenants = {source for source, _ in windows}, {window.tenant for _, window in windows}
        entry = Entry(
            identity=who,
            action="override" if for_s else "end-override",
            subjects=tuple(window.address for _, window in windows),
            tenants=() if "" in tenants else tuple(sorted(tenants)),
            source=min(sources) if len(sources) == 1 else "",
            reason=reason,
            details={"seconds": for_s},
        )
        record(connection, entry)
    return windows
