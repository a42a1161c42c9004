"""Hosts configured by Ansible playbooks of the repository: check mode with diff is the observation, a real run the apply.

One resource is one host and one Role. Its specification holds the playbook, the Git id of the project's content (or another repository's
commit), the host's variables and facts; so a commit that changes any of them is a change, and no file is read to know it. Hosts that share
playbook, content, tags and become share a run; hosts of two tenants never do, for a playbook sees all variables of its run. Secrets are revealed into the run's
private inventory only. Must not: keep anything between calls, or let one host's trouble become another's.

The pieces: `project` (what is run), `galaxy` (its requirements), `inventory` (what hosts are told), `run` and `process` (the program),
`events`, `blind` and `fields` (what happened), `verdict`.
A playbook is a program: what it delegates to localhost, looks up or brings along as plugins beside the playbook (`library`,
`filter_plugins`, `lookup_plugins`, `action_plugins`, ...) runs on this machine as this user. `isolation` says what it sees there.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from reconciler.drivers.ansible import awx
from reconciler.drivers.ansible.awx_client import AwxSettings
from reconciler.drivers.ansible.events import Listener
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.inventory import host_facts, host_variables, inventory
from reconciler.drivers.ansible.project import export_project, project_spec, refusal, same_project, title
from reconciler.drivers.ansible.run import AnsibleSettings, Job, pinned_lines, play, private_directory
from reconciler.drivers.ansible.telling import Telling
from reconciler.drivers.ansible.vaulted import opened
from reconciler.drivers.ansible.verdict import Heard, ended, observed, outcome
from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Staleness, Step, Target
from reconciler.drivers.netboot import generation_of
from reconciler.errors import OctofleetError, Permanent, Refused, RetryLater
from reconciler.secrets.redact import redactor
from reconciler.secrets.settings import granted
from reconciler.types.host import FleetScope, ResolvedHost, RoleUse
from reconciler.types.kind import Kind
from reconciler.types.observation import Observation, Present, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Dependency, Resource, Rules, address
from reconciler.types.values import SecretRef, SecretValue, secrets_in

if TYPE_CHECKING:
    from reconciler.settings import Ansible, AnsibleProvider

ORDER = 30
MITOGEN = "mitogen"
T = TypeVar("T")

__all__ = ["AnsibleDriver", "AnsibleSettings", "ansible_settings"]


def ansible_settings(table: "Ansible") -> AnsibleSettings:
    """The driver's settings from the server's table `[ansible]`; a path that is not given is empty there."""
    key, known = (Path(path).expanduser() if path else None for path in (table.private_key_file, table.known_hosts_file))
    return AnsibleSettings(
        private_key_file=key,
        known_hosts_file=known,
        user=table.user,
        forks=table.forks,
        timeout_s=table.timeout_s,
        ssh_common_args=table.ssh_common_args,
        keep=table.keep,
        tenant_keys={tenant: Path(path).expanduser() for tenant, path in table.tenant_keys.items()},
        isolation=table.isolation,
        visible=tuple(Path(path).expanduser() for path in table.visible),
    )


Way: TypeAlias = AnsibleSettings | AwxSettings


def ansible_providers(table: "Ansible") -> dict[str, Way]:
    """What `ansibleProvider` may name: the settings of `[ansible]`, but for what each of `[ansible.providers]` says otherwise; and `mitogen`, for all."""
    default = ansible_settings(table)
    built_in: dict[str, Way] = {MITOGEN: replace(default, strategy="mitogen_linear")}
    return built_in | {
        name: _awx(name, default, provider) if provider.type == "awx" else _provider(default, provider)
        for name, provider in table.providers.items()
    }


def _awx(name: str, default: AnsibleSettings, table: "AnsibleProvider") -> AwxSettings:
    token, authorities = (Path(path).expanduser() if path else None for path in (table.token_file, table.ca_file))
    return AwxSettings(
        name=name,
        url=table.url,
        organization=table.organization,
        token_file=token,
        token_env=table.token_env,
        ca_file=authorities,
        project_url=table.project_url,
        project_credential=table.project_credential,
        credentials=tuple(table.credentials),
        instance_groups=tuple(table.instance_groups),
        execution_environment=table.execution_environment,
        forks=table.forks,
        user=table.user,
        timeout_s=table.timeout_s or default.timeout_s,
        tenants=tuple(table.tenants),
        keep=default.keep,
    )


def _provider(default: AnsibleSettings, table: "AnsibleProvider") -> AnsibleSettings:
    own_key = Path(table.private_key_file).expanduser() if table.private_key_file else None
    return replace(
        default,
        private_key_file=own_key or default.private_key_file,
        tenant_keys={} if own_key else default.tenant_keys,
        known_hosts_file=Path(table.known_hosts_file).expanduser() if table.known_hosts_file else default.known_hosts_file,
        user=table.user or default.user,
        forks=table.forks or default.forks,
        timeout_s=table.timeout_s or default.timeout_s,
        ssh_common_args=table.ssh_common_args or default.ssh_common_args,
        strategy=table.strategy,
        tenants=tuple(table.tenants),
        keep=default.keep,
    )


@dataclass(frozen=True, slots=True)
class AnsibleDriver:
    """See the module. `providers`: other ways to run playbooks than that of `settings`, which `ansibleProvider` names. `galaxy`: what installs requirements."""

    settings: AnsibleSettings
    providers: Mapping[str, Way] = field(default_factory=dict)
    galaxy: Galaxy | None = None

    @property
    def info(self) -> DriverInfo:
        """An engine: it plans natively, and what a role did to a host is not undone by taking the role away."""
        kinds = tuple(Kind(name=name, order=ORDER, engine=True, deletable=False, destroys=False) for name in ("role", "operation"))
        return DriverInfo(name="ansible", version=1, kinds=kinds, batch=500, concurrency=2, staleness=Staleness.INPUTS)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
        """One for each host and each of its roles that has a playbook; a host's roles converge in the host's order."""
        for host in scope.hosts:
            needs = [Dependency(address=address("fleet", "host", host.tenant, host.name), lifetime=True)]
            if generation_of(host.values):
                needs.append(Dependency(address=address("netboot", "install", host.tenant, host.name), lifetime=True))
            machine = len(needs)
            facts: dict[str, Any] | None = None
            for role in host.roles:
                if role.ansible is None:
                    continue
                facts = facts or host_facts(host)
                made = _resource(host, role, facts, inputs, tuple(needs))
                yield made
                needs[machine:] = [Dependency(address=made.address)]

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """One check run for all targets that may share one."""
        found: dict[str, Observation] = {}
        asked = []
        for target in targets:
            if target.desired is None:
                found[target.address] = Unknown(code="not-observable", reason="only a role that is wanted can be checked", at=time.time())
            else:
                asked.append(target.desired)
        new = {t.address for t in targets if t.desired and (t.recorded is None or t.recorded.digest != t.desired.digest)}

        def seen(heard: Heard, host: str, desired: Resource, now: float) -> Observation:
            return observed(heard, host, desired, now, new=desired.address in new)

        former = [(s.ref, t.recorded.rules.tenant) for t in targets if t.recorded for s in secrets_in(t.recorded_spec)]
        for group in grouped(asked):
            run = _Run(settings=self._way(group[0]), context=context, check=True, resources=group, former=former, galaxy=self.galaxy)
            found |= run.go(seen, _unknown)
        return found

    def apply(self, step: Step, context: Context) -> Results:
        """One real run for all changes that may share one. Ansible converges, so doing it again does no harm."""
        found: dict[str, Outcome | Pending] = {}
        asked = []
        for work in step.work:
            if work.target.desired is None:
                error = "what a role did to a host is not undone by removing the role"
                found[work.target.address] = Outcome(status=Status.FAILED, error=error)
            else:
                asked.append(work.target.desired)
        for part, group in enumerate(grouped(asked)):
            run = _Run(settings=self._way(group[0]), context=context, check=False, resources=group, part=part, galaxy=self.galaxy)
            try:
                found |= run.begin(step.id, _failed) if run.far else run.go(ended, _failed)
            except OctofleetError as error:
                if (run.far and isinstance(error, RetryLater)) or not any(resource.address in found for resource in asked):
                    raise
                # Runs before this one are done: what they did must be told.
                found |= {
                    resource.address: Outcome(status=Status.FAILED, error=str(error)) for resource in group if resource.address not in found
                }
        return found

    def _way(self, resource: Resource) -> Way | None:
        return self.way(resource.rules.provider, resource.rules.tenant)

    def way(self, name: str, tenant: str) -> Way | None:
        """How playbooks are run by a provider, or without a name by default; None where the tenant has no such provider."""
        way = self.providers.get(name) if name else self.settings
        if way is None or not granted(way.tenants, tenant):
            return None
        return way.of(tenant) if isinstance(way, AnsibleSettings) else way

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


def _unknown(code: str, reason: str) -> Observation:
    return Unknown(code=code, reason=reason, at=time.time())


def _failed(code: str, reason: str) -> Outcome:
    return Outcome(status=Status.CANCELLED if code == "cancelled" else Status.FAILED, error=reason)


def _resource(host: ResolvedHost, role: RoleUse, facts: Mapping[str, Any], inputs: Inputs, needs: tuple[Dependency, ...]) -> Resource:
    ansible = role.ansible or {}
    spec = project_spec(ansible, inputs) | {"vars": host.values.get("vars") or {}, "host": facts}
    moved = host.moved_from
    return Resource(
        address=address("ansible", "role", host.tenant, f"{host.name}.{role.name}"),
        spec=spec | {name: ansible[name] for name in ("tags", "become") if name in ansible},
        rules=Rules(
            tenant=host.tenant,
            provider=str(host.values.get("ansibleProvider", "")),
            order=ORDER,
            protect=host.protect,
            on_delete=host.on_delete,
            depends_on=needs,
        ),
        group=host.group,
        origin=host.origin,
        moved_from=address("ansible", "role", moved[0], f"{moved[1]}.{role.name}") if moved else None,
    )


def grouped(resources: Sequence[Resource]) -> list[list[Resource]]:
    """What may share a run, in the order of the first of each. A host is in a run once: the same playbook by two roles is two runs."""
    found: dict[tuple[object, ...], list[Resource]] = {}
    for resource in resources:
        spec = resource.spec
        key = (resource.rules.tenant, resource.rules.provider, *same_project(spec), spec.get("become"), *(spec.get("tags") or ()))
        turn = 0
        while any(other.spec["host"]["name"] == spec["host"]["name"] for other in found.get((turn, *key), ())):
            turn += 1
        found.setdefault((turn, *key), []).append(resource)
    return list(found.values())


class _Run:
    """One group of resources on its way through one run of the playbook."""

    def __init__(
        self,
        *,
        settings: Way | None,
        context: Context,
        check: bool,
        resources: Sequence[Resource],
        former: Iterable[tuple[SecretRef, str]] = (),
        part: int = 0,
        galaxy: Galaxy | None = None,
    ) -> None:
        self._settings, self._context, self._check = settings or AnsibleSettings(), context, check
        self._first, self._part, self._galaxy = resources[0], part, galaxy
        self._resources: list[Resource] = []
        self._variables: dict[str, dict[str, Any]] = {}
        self._revealed: list[SecretValue] = []
        self._refused: dict[str, tuple[str, str]] = {}
        refusal = self._refusal() if settings is not None else self._no_provider()
        for resource in resources:
            if refusal is not None:
                self._refused[resource.address] = refusal
            else:
                self._take(resource)
        self._revealed += self._former(former)

    def _former(self, refs: Iterable[tuple[SecretRef, str]]) -> Iterator[SecretValue]:
        """Secrets that were applied before and may still stand on the hosts: to be kept out of what is told, as far as they can be read."""
        for ref, tenant in dict.fromkeys(refs):
            with suppress(OctofleetError):
                yield self._context.secret(ref, tenant)

    def _no_provider(self) -> tuple[str, str]:
        name, tenant = self._first.rules.provider, self._first.rules.tenant
        return "provider-unknown", f"the server's settings have no [ansible.providers.{name}] that the tenant {tenant} may use"

    def _refusal(self) -> tuple[str, str] | None:
        """Why nothing of this group can run."""
        if (found := refusal(self._first.spec, by_awx=self.far)) is not None:
            return found
        if self._context.cancelled():
            return "cancelled", "cancelled before it began"
        if time.monotonic() >= self._context.deadline:
            return "timeout", "there was no time left to begin"
        return None

    def _take(self, resource: Resource) -> None:
        try:
            variables, revealed = host_variables(
                resource.spec, self._settings.user, lambda ref: self._context.secret(ref, resource.rules.tenant)
            )
        except OctofleetError as error:
            self._refused[resource.address] = ("secret-unavailable", f"a variable cannot be resolved: {error}")
            return
        self._resources.append(resource)
        self._variables[resource.spec["host"]["name"]] = variables
        self._revealed += revealed

    def go(self, verdict: Callable[[Heard, str, Resource, float], T], refused: Callable[[str, str], T]) -> dict[str, T]:
        """Run, and say of each host what `verdict` makes of it, or `refused` of the code and reason why it cannot take part."""
        found = {where: refused(code, reason) for where, (code, reason) in self._refused.items()}
        if not self._resources:
            return found
        if isinstance(self._settings, AwxSettings):
            try:
                heard = awx.check(self._settings, self._resources, self._context, self._revealed)
            except (Permanent, Refused) as error:
                return found | self._none(refused, error)
        else:
            with private_directory(self._context.scratch) as directory:
                try:
                    job, vaulted = self._prepared(directory)
                except OctofleetError as error:
                    return found | self._none(refused, error)
                heard = self._play(job, self._settings, vaulted)
        return found | {
            resource.address: verdict(heard, resource.spec["host"]["name"], resource, time.time()) for resource in self._resources
        }

    def _none(self, refused: Callable[[str, str], T], error: OctofleetError) -> dict[str, T]:
        reason = f"{error.message} ({error.hint})" if error.hint else error.message
        return {resource.address: refused(error.code, reason) for resource in self._resources}

    @property
    def far(self) -> bool:
        """Whether it runs by itself, away from this machine, once it has begun."""
        return isinstance(self._settings, AwxSettings)

    def begin(self, step: str, refused: Callable[[str, str], Outcome]) -> dict[str, Outcome | Pending]:
        """Have AWX run it, once for this step; the handle is kept before anything is waited for."""
        found: dict[str, Outcome | Pending] = {where: refused(code, reason) for where, (code, reason) in self._refused.items()}
        if not self._resources or not isinstance(self._settings, AwxSettings):
            return found
        operation = awx.launched(self._settings, self._resources, self._context, step, self._part).text()
        self._context.checkpoint(operation)
        return found | {resource.address: Pending(operation=operation, poll_after_s=awx.POLL_S) for resource in self._resources}

    def _prepared(self, directory: Path) -> tuple[Job, list[SecretValue]]:
        """The project with what it requires, and what its vault texts hold. Raises what fetching, installing and opening raise."""
        spec = self._first.spec
        project = directory / "project"
        playbook = export_project(spec, project, self._context.export, self._context.export_from)
        installed = None
        if self._galaxy is not None:
            installed = self._galaxy.installed(project, spec["project"], self._context.export_from, until=self._context.deadline)
        job = Job(
            directory=directory,
            playbook=playbook,
            inventory=inventory(self._variables),
            check=self._check,
            tags=tuple(spec.get("tags") or ()),
            become=spec.get("become") is True,
            gather=self._context.gather,
            installed=installed.directory if installed else None,
        )
        return self._with_passwords(job)

    def _play(self, job: Job, settings: AnsibleSettings, vaulted: Sequence[SecretValue]) -> Heard:
        spec = self._first.spec
        redact = redactor([*self._revealed, *vaulted])
        log = (lambda line: None) if self._check else self._context.log
        listener = Listener(
            hosts=tuple(self._variables),
            project=job.project,
            wrapper=job.wrapper,
            told_as=spec["project"],
            check=self._check,
            redact=redact,
            log=log,
            telling=None if self._check else self._telling(settings.keep),
        )
        until = min(self._context.deadline, time.monotonic() + settings.timeout_s)
        try:
            end = play(job, self._pinned(job.directory, settings), listener, until=until, cancelled=self._context.cancelled)
        finally:
            if listener.telling is not None:
                listener.telling.close()
        self._context.met(listener.met.told(self._first.rules.tenant, time.time()))
        return Heard(listener=listener, end=end, playbook=title(spec))

    def _telling(self, keep: str) -> Telling:
        return Telling(tenant=self._first.rules.tenant, told=self._context.told, part=self._part, keep=keep)

    def _with_passwords(self, job: Job) -> tuple[Job, list[SecretValue]]:
        """The job with the passwords of the vault ids that its project needs, and what the project's vault texts hold."""
        tenant = self._first.rules.tenant
        try:
            found = opened(job.project, self._first.spec["project"], tenant, lambda: self._context.passwords(tenant))
            passwords = self._context.passwords(tenant) if found.ids else {}
        except (Permanent, Refused) as error:
            raise Permanent(error.message, hint=error.hint, code="secret-unavailable") from error
        return replace(job, passwords={name: passwords[name] for name in found.ids}), found.values()

    def _pinned(self, directory: Path, settings: AnsibleSettings) -> AnsibleSettings:
        """The settings, with what installers told of the keys of these hosts."""
        lines = [
            line
            for resource in self._resources
            for line in pinned_lines(
                self._variables[resource.spec["host"]["name"]],
                self._context.host_keys(resource.rules.tenant, resource.spec["host"]["name"]),
            )
        ]
        if not lines:
            return settings
        path = directory / "pinned_hosts"
        path.write_text("\n".join(lines) + "\n")
        return replace(settings, pinned_hosts_file=path)
