"""Hosts configured by Ansible playbooks: check mode with diff is the observation, a real run the apply.

One resource is one host and what is run on it (`resources`). Those that may share a run go through it together (`group`); what it means for each
is `verdict`'s. Runs on this machine are `run`'s and those of AWX `awx`'s. A playbook is a program: what it delegates to localhost, looks up or
brings along as plugins beside it (`library`, `filter_plugins`, `lookup_plugins`, ...) runs on this machine as this user; `isolation` says what it
sees there. Must not: keep anything between calls.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.drivers.ansible import awx
from reconciler.drivers.ansible.awx_client import AwxSettings
from reconciler.drivers.ansible.edge import Edge, failed, unknown
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.group import Ask, begun, run
from reconciler.drivers.ansible.resources import OPERATION, ORDER, ROLE, grouped, host_of, roles
from reconciler.drivers.ansible.settings import AnsibleSettings, Way
from reconciler.drivers.ansible.verdict import ended, observed, outcome
from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Staleness, Step, Target
from reconciler.errors import Permanent, RetryLater
from reconciler.secrets.settings import granted
from reconciler.types.host import FleetScope
from reconciler.types.kind import Kind
from reconciler.types.observation import Observation, Present, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Resource
from reconciler.types.values import secrets_in


@dataclass(frozen=True, slots=True)
class AnsibleDriver:
    """See the module. `providers`: other ways to run playbooks than that of `settings`, which `ansibleProvider` names. `galaxy`: what installs
    requirements."""

    settings: AnsibleSettings
    providers: Mapping[str, Way] = field(default_factory=dict)
    galaxy: Galaxy | None = None

    @property
    def info(self) -> DriverInfo:
        """An engine: it plans natively, and what a role did to a host is not undone by taking the role away."""
        kinds = tuple(Kind(name=name, order=ORDER, engine=True, deletable=False, destroys=False) for name in (ROLE, OPERATION))
        return DriverInfo(name="ansible", version=1, kinds=kinds, batch=500, concurrency=2, staleness=Staleness.INPUTS)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
        """One for each host and each of its Roles that has Ansible run something."""
        for host in scope.hosts:
            yield from roles(host, inputs)

    def way(self, name: str, tenant: str) -> Way | None:
        """How playbooks are run by a provider, or without a name by default; None where the tenant has no such provider."""
        way = self.providers.get(name) if name else self.settings
        if way is None or not granted(way.tenants, tenant):
            return None
        return way.of(tenant) if isinstance(way, AnsibleSettings) else way

    def _way(self, resource: Resource) -> Way | None:
        return self.way(resource.rules.provider, resource.rules.tenant)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """One check run for all targets that may share one. What one group of several did not expect makes that group alone unknown."""
        now = time.time()
        wanted = [target.desired for target in targets if target.desired is not None]
        found: dict[str, Observation] = {
            target.address: Unknown(code="not-observable", reason="only a role that is wanted can be checked", at=now)
            for target in targets
            if target.desired is None
        }
        new = {t.address for t in targets if t.desired and (t.recorded is None or t.recorded.digest != t.desired.digest)}
        former = [(secret.ref, t.recorded.rules.tenant) for t in targets if t.recorded for secret in secrets_in(t.recorded_spec)]
        groups, edge = grouped(wanted), Edge(context)
        for group in groups:
            own = [item for item in former if item[1] == group[0].rules.tenant]
            try:
                told = run(group, self._way(group[0]), Ask(context=edge.context, check=True, former=own, galaxy=self.galaxy))
                now = time.time()
                found |= {item.address: observed(told[item.address], host_of(item), item, now, new=item.address in new) for item in group}
            except Exception as trouble:
                if isinstance(trouble, RetryLater) or len(groups) == 1 or edge.is_from_outside(trouble):
                    raise
                found |= dict.fromkeys((item.address for item in group), unknown(trouble, time.time()))
        return found

    def apply(self, step: Step, context: Context) -> Results:
        """One real run for all changes that may share one. Ansible converges, so doing it again does no harm. What one group of several did not expect
        is the failure of that group alone."""
        wanted = [work.target.desired for work in step.work if work.target.desired is not None]
        error = "what a role did to a host is not undone by removing the role"
        found: dict[str, Outcome | Pending] = {
            work.target.address: Outcome(status=Status.FAILED, error=error) for work in step.work if work.target.desired is None
        }
        groups, edge = grouped(wanted), Edge(context)
        for part, group in enumerate(groups):
            way = self._way(group[0])
            try:
                found |= (
                    self._begun(group, way, edge.context, step.id, part)
                    if isinstance(way, AwxSettings)
                    else self._done(group, way, edge.context, part)
                )
            except Exception as trouble:
                first = not any(item.address in found for item in wanted)
                later = isinstance(trouble, RetryLater) and (isinstance(way, AwxSettings) or first)
                if later or len(groups) == 1 or edge.is_from_outside(trouble):
                    raise
                # What other runs did, or do after this one, must be told.
                found |= dict.fromkeys((item.address for item in group), failed(trouble))
        return found

    def _begun(self, group: Sequence[Resource], way: AwxSettings, context: Context, step: str, part: int) -> Results:
        told = begun(group, way, Ask(context=context, check=False, part=part), step)
        return {where: item if isinstance(item, Pending) else item.outcome for where, item in told.items()}

    def _done(self, group: Sequence[Resource], way: AnsibleSettings | None, context: Context, part: int) -> Results:
        told = run(group, way, Ask(context=context, check=False, part=part, galaxy=self.galaxy))
        now = time.time()
        return {item.address: ended(told[item.address], host_of(item), item, now) for item in group}

    def poll(self, operation: str, context: Context) -> Results:
        """How a job of AWX stands; runs on this machine are over when `apply` is."""
        handle = awx.read_handle(operation)
        way = self.providers.get(handle.provider)
        if not isinstance(way, AwxSettings):
            raise Permanent(f"the settings have no [ansible.providers.{handle.provider}] of AWX any more", hint="add it again")
        heard = awx.followed(way, handle, context)
        if heard is None:
            return {where: Pending(operation=operation, poll_after_s=awx.MOST_POLL_S) for where, _ in handle.hosts.values()}
        now = time.time()
        return {where: outcome(heard, host, Present(spec={}, digest=digest, at=now)) for host, (where, digest) in handle.hosts.items()}

    def list(self, context: Context) -> Iterator[Listed]:
        """There is nothing to import."""
        del context
        return iter(())

    def diff(self, target: Target, context: Context) -> str:
        """The fields of a proposal carry the diffs."""
        del target, context
        return ""
