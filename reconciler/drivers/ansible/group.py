"""Resources that share a run, on their way through it: who can take part, what is told to hosts, and what was heard of each.

In: resources that `grouped` put together, and how they are run. Out: by address what was heard, or why nothing could be. Secrets are revealed into
the run's private inventory alone. Must not: keep anything between calls, or let one host's trouble become another's.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible import awx
from reconciler.drivers.ansible.awx_client import AwxSettings
from reconciler.drivers.ansible.command import pinned_lines
from reconciler.drivers.ansible.events import Listener
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.inventory import host_variables, inventory
from reconciler.drivers.ansible.isolation import isolated
from reconciler.drivers.ansible.job import Job, private_directory
from reconciler.drivers.ansible.project import export_project, refusal, title
from reconciler.drivers.ansible.resources import host_of
from reconciler.drivers.ansible.run import play
from reconciler.drivers.ansible.settings import AnsibleSettings, Way
from reconciler.drivers.ansible.telling import Telling
from reconciler.drivers.ansible.vaulted import opened
from reconciler.drivers.ansible.verdict import Heard, NotRun
from reconciler.drivers.driver import Context
from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.secrets.redact import redactor
from reconciler.types.outcome import Pending
from reconciler.types.resource import Resource
from reconciler.types.values import SecretRef, SecretValue

Former = Iterable[tuple[SecretRef, str]]
"""Secrets, and whose they are, that were applied before and may still stand on hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked of a run. `part`: which run of the call it is. `former`: what else is kept out of all that is told, as far as it can be read."""

    context: Context
    check: bool
    part: int = 0
    former: Former = ()
    galaxy: Galaxy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Those that take part: `variables` by the host's name, with the `secrets` that are in them."""

    resources: Sequence[Resource]
    variables: Mapping[str, Mapping[str, Any]]
    secrets: Sequence[SecretValue]

    @property
    def first(self) -> Resource:
        """Of what all of them have in common, as good as any."""
        return self.resources[0]


def run(resources: Sequence[Resource], way: Way | None, ask: Ask) -> dict[str, Heard | NotRun]:
    """Run to the end. Raises `OctofleetError` where this machine or AWX cannot run anything."""
    group, left_out = _gathered(resources, way, ask.context)
    if way is None or group is None:
        return {**left_out}
    secrets = [*group.secrets, *_readable(ask.former, ask.context)]
    told = _check_there(group, way, ask, secrets) if isinstance(way, AwxSettings) else _run_here(group, way, ask, secrets)
    return {**left_out, **dict.fromkeys((resource.address for resource in group.resources), told)}


def begun(resources: Sequence[Resource], way: AwxSettings, ask: Ask, step: str) -> dict[str, Pending | NotRun]:
    """Have AWX run it for real, once for a step; the handle is kept before anything is waited for."""
    group, left_out = _gathered(resources, way, ask.context)
    if group is None:
        return {**left_out}
    operation = awx.launched(way, group.resources, ask.context, step, ask.part).text()
    ask.context.checkpoint(operation)
    return {**left_out, **{resource.address: Pending(operation=operation, poll_after_s=awx.POLL_S) for resource in group.resources}}


def _gathered(resources: Sequence[Resource], way: Way | None, context: Context) -> tuple[_Group | None, dict[str, NotRun]]:
    """Those that can take part, if any can, and why the others cannot."""
    why = _hindrance(resources[0], way, context)
    if way is None or why is not None:
        return None, {resource.address: why for resource in resources if why is not None}
    tenant = resources[0].rules.tenant
    left_out: dict[str, NotRun] = {}
    part: list[Resource] = []
    variables: dict[str, Mapping[str, Any]] = {}
    secrets: list[SecretValue] = []
    for resource in resources:
        try:
            known, revealed = host_variables(resource.spec, way.user, lambda ref: context.secret(ref, tenant))
        except OctofleetError as error:
            left_out[resource.address] = NotRun(code="secret-unavailable", reason=f"a variable cannot be resolved: {error}")
            continue
        part.append(resource)
        variables[host_of(resource)] = known
        secrets += revealed
    return _Group(resources=part, variables=variables, secrets=secrets) if part else None, left_out


def _hindrance(first: Resource, way: Way | None, context: Context) -> NotRun | None:
    """Why none of a group can run."""
    if way is None:
        reason = f"the server's settings have no [ansible.providers.{first.rules.provider}] that the tenant {first.rules.tenant} may use"
        return NotRun(code="provider-unknown", reason=reason)
    if (found := refusal(first.spec, by_awx=isinstance(way, AwxSettings))) is not None:
        return NotRun(code=found[0], reason=found[1])
    if context.halted:
        return NotRun(code="cancelled", reason="cancelled before it began")
    if time.monotonic() >= context.deadline:
        return NotRun(code="timeout", reason="there was no time left to begin")
    return _exposed(way) if isinstance(way, AnsibleSettings) else None


def _exposed(settings: AnsibleSettings) -> NotRun | None:
    """Why nothing of it may begin on this machine, if isolation is required: installing what a project requires is a run of what strangers wrote, too."""
    try:
        isolated(settings.isolation)
    except Permanent as error:
        return _not_run(error)
    return None


def _readable(former: Former, context: Context) -> Iterator[SecretValue]:
    for ref, tenant in dict.fromkeys(former):
        with suppress(OctofleetError):
            yield context.secret(ref, tenant)


def _check_there(group: _Group, way: AwxSettings, ask: Ask, secrets: Sequence[SecretValue]) -> Heard | NotRun:
    """By AWX, in check mode."""
    try:
        return awx.check(way, group.resources, ask.context, secrets)
    except (Permanent, Refused) as error:
        return _not_run(error)


def _not_run(error: OctofleetError) -> NotRun:
    return NotRun(code=error.code, reason=f"{error.message} ({error.hint})" if error.hint else error.message)


def _run_here(group: _Group, settings: AnsibleSettings, ask: Ask, secrets: Sequence[SecretValue]) -> Heard | NotRun:
    """On this machine."""
    with private_directory(ask.context.scratch) as directory:
        try:
            job, vaulted = _prepared(group, directory, ask)
        except OctofleetError as error:
            return _not_run(error)
        return _played(group, job, settings, ask, [*secrets, *vaulted])


def _prepared(group: _Group, directory: Path, ask: Ask) -> tuple[Job, list[SecretValue]]:
    """The project with what it requires, and what its vault texts hold. Raises what fetching, installing and opening raise."""
    spec, tenant, context = group.first.spec, group.first.rules.tenant, ask.context
    job = Job(
        directory=directory,
        playbook=export_project(spec, directory / "project", context.export, context.export_from),
        inventory=inventory(group.variables),
        check=ask.check,
        tags=tuple(spec.get("tags") or ()),
        become=spec.get("become") is True,
        gather=context.gather,
        pinned=tuple(_pinned(group, context)),
    )
    if ask.galaxy is not None:
        installed = ask.galaxy.installed(job.project, spec["project"], context.export_from, until=context.deadline)
        job = replace(job, installed=installed)
    try:
        vault = opened(job.project, spec["project"], tenant, lambda: context.passwords(tenant))
        passwords = context.passwords(tenant) if vault.ids else {}
    except (Permanent, Refused) as error:
        raise Permanent(error.message, hint=error.hint, code="secret-unavailable") from error
    return replace(job, passwords={name: passwords[name] for name in vault.ids}), vault.values()


def _pinned(group: _Group, context: Context) -> Iterator[str]:
    """What installers told of the keys of these hosts."""
    for resource in group.resources:
        host = host_of(resource)
        yield from pinned_lines(group.variables[host], context.host_keys(resource.rules.tenant, host))


def _played(group: _Group, job: Job, settings: AnsibleSettings, ask: Ask, secrets: Sequence[SecretValue]) -> Heard:
    spec, tenant, context = group.first.spec, group.first.rules.tenant, ask.context
    listener = Listener(
        hosts=tuple(group.variables),
        project=job.project,
        wrapper=job.wrapper,
        told_as=spec["project"],
        check=ask.check,
        redact=redactor(secrets),
        log=(lambda line: None) if ask.check else context.log,
        telling=None if ask.check else Telling(tenant=tenant, told=context.told, part=ask.part, keep=settings.keep),
    )
    until = min(context.deadline, time.monotonic() + settings.timeout_s)
    try:
        end = play(job, settings, listener, until=until, cancelled=lambda: context.halted)
    finally:
        if listener.telling is not None:
            listener.telling.close()
    listener.close()
    context.met(listener.met.told(tenant, time.time()))
    return Heard(listener=listener, end=end, playbook=title(spec))
