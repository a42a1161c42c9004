"""What is so now that alerts are about: read from the journal, the observations and the repositories that are followed.

The edge around `alert`. In: what was so at the look before. Out: conditions by key. Most are told anew by each look; that a run failed stays so until a
later run of that tenant succeeds. Changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.alert.condition import Condition, Event
from reconciler.apply.task import GATE
from reconciler.gate.windows import Window, shut, went_by
from reconciler.identity.access import Action
from reconciler.permitting import access_in_force
from reconciler.store.conditions import (
    EndedRun,
    Halted,
    PutOff,
    Unsettled,
    ended_since,
    groups_unseen,
    halted,
    known_runs,
    plan_about,
    put_off,
    seen_of,
    tenants_of_run,
    unsettled,
)
from reconciler.store.engine import Connection
from reconciler.store.followed import APPROVAL, Followed, followed, run_about
from reconciler.store.gates import load_gates
from reconciler.store.installs_listed import ended_badly as badly_installed
from reconciler.store.waiting import ended_badly
from reconciler.types.installation import Installation, State
from reconciler.types.outcome import Status
from reconciler.types.resource import tenant_of

OVERLAP_S = 600.0
"""How far before the newest run that was seen it is looked again: longer than a transaction takes that ends one."""
FAILED = frozenset({Status.FAILED, Status.PARTIAL, Status.STALE, Status.EXPIRED})
MOST_NAMES = 10
MOST_KNOWN = 1000


@dataclass(kw_only=True)
class Notices:
    """Looks again and again. What it remembers only saves reading: of runs that ended what became of each tenant, of a plan who can approve it."""

    _runs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _plans: dict[str, tuple[Condition, ...]] = field(default_factory=dict)

    def look(self, connection: Connection, before: Mapping[str, Condition], seen: float, silent_s: float | None) -> dict[str, Condition]:
        """What is so. `seen`: until when runs were looked at before; `silent_s`: the least time after which a host counts as silent for anybody."""
        now = connection.now()
        opened = unsettled(connection)
        found = [
            *self._failed(connection, before, seen),
            *_drifted(opened),
            *self._wanted(connection),
            *_missed(connection, put_off(connection, GATE), now),
            *_halts(halted(connection), now),
            *_not_installed(badly_installed(connection)),
            *(_silent(connection, opened, now, silent_s) if silent_s is not None else ()),
        ]
        return {item.key: replace(item, since=before[item.key].since) if item.key in before else item for item in found}

    def _failed(self, connection: Connection, before: Mapping[str, Condition], seen: float) -> Iterator[Condition]:
        """Of each tenant what its last run says; what is known already holds until there is a newer one, or its run is pruned."""
        newest: dict[tuple[str, str], tuple[EndedRun, str]] = {}
        for run in ended_since(connection, seen - OVERLAP_S):
            for tenant, text in self._verdict(connection, run).items():
                newest[run.source, tenant] = run, text
        for (source, tenant), (run, text) in newest.items():
            if text:
                yield Condition(
                    event=Event.RUN_FAILED,
                    source=source,
                    tenant=tenant,
                    subject=f"tenant {tenant}" if tenant else f"fleet {source}",
                    text=f"run {run.id} failed: {text}",
                    next=f"octofleet logs {run.id} tells what it did, octofleet plan what is left",
                    since=run.ended_at,
                    about=run.id,
                )
        held = [
            item for item in before.values() if item.event is Event.RUN_FAILED and item.about and (item.source, item.tenant) not in newest
        ]
        known = known_runs(connection, (item.about for item in held))
        yield from (item for item in held if item.about in known)

    def _verdict(self, connection: Connection, run: EndedRun) -> Mapping[str, str]:
        """Of each tenant of a run that ended what failed there, empty if nothing did; nothing of a run that a person cancelled."""
        if run.id not in self._runs:
            if len(self._runs) >= MOST_KNOWN:
                self._runs.clear()
            self._runs[run.id] = {} if run.state == "cancelled" else _verdict(connection, run)
        return self._runs[run.id]

    def _wanted(self, connection: Connection) -> Iterator[Condition]:
        """Plans of followed repositories that wait for a person."""
        waiting = [one for one in followed(connection) if one.code == APPROVAL and not run_about(connection, one)]
        self._plans = {one.about: self._plans.get(one.about) or tuple(_approval(connection, one)) for one in waiting}
        return (item for items in self._plans.values() for item in items)


def _verdict(connection: Connection, run: EndedRun) -> dict[str, str]:
    errors: dict[str, list[str]] = {}
    for address, status, error in ended_badly(connection, run.id) if run.state == "failed" else ():
        if status in FAILED:
            errors.setdefault(tenant_of(address), []).append(f"{address}: {error or status}")
    found = dict.fromkeys(tenants_of_run(connection, run.id), "")
    for tenant, said in errors.items():
        found[tenant] = said[0] + (f" (and {len(said) - 1} more)" if len(said) > 1 else "")
    return found


def _drifted(opened: Iterable[Unsettled]) -> Iterator[Condition]:
    hosts: dict[tuple[str, str, str], list[Unsettled]] = {}
    for one in opened:
        if one.kind != "unknown":
            hosts.setdefault((one.source, tenant_of(one.address), one.group), []).append(one)
    for (source, tenant, group), found in hosts.items():
        names = ", ".join(one.address for one in found[:MOST_NAMES]) + (", ..." if len(found) > MOST_NAMES else "")
        yield Condition(
            event=Event.DRIFT_FOUND,
            source=source,
            tenant=tenant,
            subject=group,
            text=f"last seen otherwise than recorded: {names}",
            next="octofleet drift shows what was changed, octofleet drift --heal puts it right",
            since=min(one.at for one in found),
        )


def _approval(connection: Connection, one: Followed) -> Iterator[Condition]:
    about = plan_about(connection, one.about)
    if about is None:
        return
    source, tenants = about
    access = access_in_force(connection)
    for tenant in sorted(tenants):
        people = access.able(source, tenant, Action.APPROVE)
        who = f"; who may: {', '.join(people[:MOST_NAMES])}" if people else ""
        yield Condition(
            event=Event.APPROVAL_WANTED,
            source=source,
            tenant=tenant,
            subject=f"plan {one.about[:12]}",
            text=f"{one.note}{who}",
            next=f"octofleet approve {one.about[:12]} --reason WHY",
            since=one.at or 0.0,
        )


def _halts(found: Iterable[Halted], now: float) -> Iterator[Condition]:
    """Rollouts that a person has to move: held ones want his word, stopped ones have failed."""
    for one in found:
        held = one.state == "held"
        yield Condition(
            event=Event.APPROVAL_WANTED if held else Event.RUN_FAILED,
            source=one.source,
            tenant=one.tenant,
            subject=f"run {one.run}, {one.track}: {one.title}",
            text=one.note or ("the rollout waits for a person" if held else "the rollout was stopped"),
            next=f"octofleet promote {one.run} --reason WHY" if held else f"octofleet status --why tells what failed of run {one.run}",
            since=now,
        )


def _not_installed(found: Iterable[Installation]) -> Iterator[Condition]:
    """Machines whose last installation failed or expired. One that is armed again, as attempts are left, is none."""
    for one in found:
        ended = "failed" if one.state is State.FAILED else "did not end in time"
        said = f"after its installer had said {one.stage}" if one.stage else "before its installer had said anything"
        yield Condition(
            event=Event.INSTALL_FAILED,
            source=one.source,
            tenant=one.tenant,
            subject=f"host/{one.tenant}/{one.host}",
            text=f"the installation of generation {one.generation} {ended}, {said}, attempt {one.attempt} of {one.attempts}",
            next=f"octofleet installs host/{one.tenant}/{one.host} shows its log; octofleet plan what is left",
            since=one.ended_at or one.expires_at,
        )


def _missed(connection: Connection, found: list[PutOff], now: float) -> Iterator[Condition]:
    """Of each run and tenant the steps that waited for a window which opened and closed again since."""
    if not found:
        return
    gates = load_gates(connection)
    steps = Counter[tuple[str, str, str, str]]()
    since: dict[tuple[str, str, str, str], float] = {}
    for one in found:
        for window in (*gates.windows.get(one.source, ()), *gates.kept.get(one.run, ())):
            ended = went_by(window, one.since, now) if _waits_for(one, window) else None
            if ended is not None:
                key = one.source, one.tenant, one.run, window.name
                steps[key] += one.steps
                since[key] = min(ended, since.get(key, ended))
                break
    for (source, tenant, run, name), number in steps.items():
        yield Condition(
            event=Event.WINDOW_MISSED,
            source=source,
            tenant=tenant,
            subject=f"run {run}, window {name}",
            text=f"the window opened and closed, and {number} step{'s' if number > 1 else ''} of the run did not begin",
            next=f"octofleet status --why tells what it waits for; sooner: octofleet override {name} --for 1h --reason WHY",
            since=since[source, tenant, run, name],
        )


def _waits_for(one: PutOff, window: Window) -> bool:
    reason = one.note.removeprefix(GATE).partition(";")[0]
    return not window.freeze and reason in (shut(window), f"{shut(window)}, and no time of it is left")


def _silent(connection: Connection, opened: Iterable[Unsettled], now: float, silent_s: float) -> Iterator[Condition]:
    """Hosts of which nothing that needs the machine was seen: not looked at, or to no avail."""
    unknown = {(one.source, one.group) for one in opened if one.kind == "unknown" and one.group.startswith("host/")}
    asked = sorted(unknown | groups_unseen(connection, now - silent_s))
    for (source, group), seen in sorted(seen_of(connection, asked).items()) if asked else ():
        if any(known and at >= now - silent_s for known, at in seen):
            continue
        yield Condition(
            event=Event.HOST_SILENT,
            source=source,
            tenant=group.split("/")[1],
            subject=group,
            text="nothing could be seen of it" if not any(known for known, _ in seen) else "it was not looked at",
            next="see whether the host answers; octofleet status --why tells why it could not be seen",
            since=max(at for _, at in seen),
        )
