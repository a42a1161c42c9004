"""Drift schedules: looks at the Ansible resources of hosts by what their Fleets say (`spec.drift`), and stores what it sees as any observation.

A host is held against what was applied last, without a plan, and nothing else of the fleet is looked at; drivers are told the commit applied last. Any number
of processes may do it: the database says which host is whose. What has drifted is healed by the loop, which plans what was last seen otherwise.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Event

from reconciler.drivers.driver import Target
from reconciler.events import Repeated, happened
from reconciler.facts import Facts
from reconciler.gate.drift import Schedule, schedule_of
from reconciler.observe import observe
from reconciler.settings import Followed
from reconciler.store.followed import ask
from reconciler.store.host_checks import ENROLLED, claim, end_checks, enroll
from reconciler.store.hosts import ANSIBLE, mark_converged
from reconciler.store.observations import save_observations
from reconciler.store.records import applied_commit, fleet_in_force, load_records, load_specs, locations, records_of
from reconciler.types.observation import Observation, Proposed
from reconciler.types.origin import Origin
from reconciler.types.resource import Recorded, Resource
from reconciler.types.values import Spec
from reconciler.why_checks import shut
from reconciler.wiring import Installation, where

PAUSE_S, ENROLL_S = 5.0, 300.0


class Drifting:
    """`run` is a thread's work; `rules` are the repositories that this process follows."""

    def __init__(self, installation: Installation, rules: Sequence[Followed]) -> None:
        self._installation = installation
        self._troubles: dict[str, Repeated] = {}
        self._rules = {where(rule.location): rule for rule in rules}
        self._enroll_at: dict[tuple[str, float], float] = {}

    def run(self, stop: Event) -> None:
        """Go on until told to stop; whatever is in the way is waited for."""
        while not stop.is_set():
            looked = 0
            try:
                looked = self.once()
            except Exception as error:  # noqa: BLE001 - the schedule goes on, whatever happened in one round
                self._failed(error)
            if not looked:
                stop.wait(PAUSE_S)

    def once(self) -> int:
        """One round over the Fleets: how many hosts were looked at. What is in the way of one is told, and keeps no other."""
        with self._installation.store.read() as connection:
            known = {source: at for source, at in locations(connection).items() if at in self._rules}
        looked = 0
        for source, location in known.items():
            try:
                looked += self._checked(source, location)
            except Exception as error:  # noqa: BLE001 - the other Fleets are checked, whatever happened to this one
                self._failed(error, source)
        return looked

    def _failed(self, error: Exception, source: str = "") -> None:
        trouble = self._troubles.setdefault(source, Repeated())
        trouble.happened("checks-failed", source=source, error=f"{type(error).__name__}: {error}")

    def _checked(self, source: str, location: str) -> int:
        with self._installation.store.read() as connection:
            schedule = schedule_of(fleet_in_force(connection, source))
            if schedule is None or shut(connection, source, schedule, connection.now()):
                return 0
        self._enroll(source, schedule)
        with self._installation.store.write() as connection:
            begun_at = connection.now()
            groups = claim(connection, source, schedule, begun_at)
        if not groups:
            return 0
        try:
            drifted = check(self._installation, source, location, groups, begun_at)
        finally:
            with self._installation.store.write(alone=False) as connection:
                end_checks(connection, groups, begun_at, connection.now())
        happened("hosts-checked", source=source, hosts=len(groups), drifted=len(drifted))
        if drifted and self._rules[location].heal:
            with self._installation.store.write(alone=False) as connection:
                ask(connection, location)
        return len(groups)

    def _enroll(self, source: str, schedule: Schedule) -> None:
        """Now and then take up hosts that are new."""
        key = (source, schedule.interval_s)
        if time.monotonic() < self._enroll_at.get(key, 0.0):
            return
        number = ENROLLED
        while number == ENROLLED:
            with self._installation.store.write() as connection:
                number = enroll(connection, source, schedule, connection.now())
        self._enroll_at[key] = time.monotonic() + ENROLL_S


def check(installation: Installation, source: str, location: str, groups: Sequence[str], begun_at: float) -> set[str]:
    """Look at the Ansible resources on record of some hosts, and store what is seen; the addresses that were as recorded before and are not now."""
    with installation.store.read() as connection:
        found = records_of(connection, source, groups)
        addresses = sorted(where for records in found.values() for where, *_ in records if where.startswith(ANSIBLE))
        records = load_records(connection, addresses)
        specs = load_specs(connection, (record.digest for record in records.values()))
        commit, _ = applied_commit(connection, source) or ("", "")
    targets = [_target(record, specs) for record in records.values() if record.digest in specs]
    repository = installation.repository(location, fetch=False)
    with installation.contexts(repository, commit=commit) as context:
        seen = observe(installation.drivers, targets, lambda: replace(context(), gather=True))
    return _saved(installation, source, records, specs, seen, begun_at)


def _target(record: Recorded, specs: Mapping[str, Spec]) -> Target:
    spec = specs[record.digest]
    wanted = Resource(address=record.address, spec=spec, rules=record.rules, group=record.group, origin=Origin(path=""))
    return Target(address=record.address, desired=wanted, recorded=record, recorded_spec=spec)


def _saved(
    installation: Installation,
    source: str,
    records: Mapping[str, Recorded],
    specs: Mapping[str, Spec],
    seen: Mapping[str, Observation],
    begun_at: float,
) -> set[str]:
    """Store what was seen, but not of what was looked at or applied meanwhile: that is newer, whenever this was seen."""
    facts = Facts(resources={}, base={}, base_known=True, recorded=records, specs=specs, source=source)
    with installation.store.write() as connection:
        query = "SELECT address, settled, at FROM observation WHERE address IN (...)"
        before = {address: (settled, at) for address, settled, at in connection.rows_in(query, sorted(seen))}
        now = load_records(connection, sorted(seen))
        mine = {
            a: item
            for a, item in seen.items()
            if a in now and now[a].digest == records[a].digest and (a not in before or before[a][1] <= begun_at)
        }
        settled = {a: facts.settled(a, item) for a, item in mine.items()}
        save_observations(connection, mine, settled)
        mark_converged(connection, source, [a for a, is_so in settled.items() if is_so])
    return {a for a, item in mine.items() if isinstance(item, Proposed) and item.fields and before.get(a, (True, 0.0))[0]}
