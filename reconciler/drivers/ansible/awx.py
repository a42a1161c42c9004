"""Playbooks run by AWX, Tower or Automation Platform instead of this machine: launch a job or a workflow, follow it, read its events, cancel it.

In: resources that share a run. Out: what `verdict` needs, from the same events in the same shape. A check is waited for and cancelled there when there is no
time left; a workflow has none. A real run is durable: it carries a mark (an extra variable) with the step's id, and the resources that it is for, which are
looked for before anything is launched; its handle holds all that another process needs. The pieces: `awx_launch`, `awx_jobs`, `awx_objects` (what is kept
there), `awx_client`.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from reconciler.drivers.ansible.awx_client import AwxClient, AwxSettings
from reconciler.drivers.ansible.awx_jobs import CANCEL_S, JOB, MOST_POLL_S, POLL_S, WORKFLOW, Ran, Reader, over, stop, waited
from reconciler.drivers.ansible.awx_launch import Begun, Launch, vaulted
from reconciler.drivers.ansible.awx_objects import check_inventory, forgotten, kept
from reconciler.drivers.ansible.events import Ended, Result, Story
from reconciler.drivers.ansible.project import title
from reconciler.drivers.ansible.run import End
from reconciler.drivers.ansible.verdict import Heard
from reconciler.drivers.driver import Context
from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.secrets.redact import redactor
from reconciler.types.resource import Resource
from reconciler.types.values import SecretRef, SecretValue, Spec

__all__ = ["MOST_POLL_S", "POLL_S", "Handle", "check", "followed", "launched", "read_handle"]

UNFORESEEN = "AWX has no check mode for a workflow: what it does is not foreseen"
PROJECT = ("playbook", "project", "content", "repository", "workflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A job under way, for any process. `what`: what of the specification says what is run; `hosts`: digests of what is desired, by name and address;
    `secrets`: what to keep out of texts, by reference; `part`: which run of its step."""

    provider: str
    kind: str
    job: int
    mark: str
    tenant: str
    part: int
    what: Spec
    hosts: Mapping[str, tuple[str, str]]
    secrets: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def text(self) -> str:
        """As the journal has it."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))


def read_handle(operation: str) -> Handle:
    """Raises `Permanent` for what is no handle."""
    try:
        found = json.loads(operation)
        hosts = {name: (str(where), str(digest)) for name, (where, digest) in found.pop("hosts").items()}
        handle = Handle(hosts=hosts, secrets=[(str(store), str(key)) for store, key in found.pop("secrets")], **found)
        if handle.kind not in (JOB, WORKFLOW):
            raise ValueError(handle.kind)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Permanent("this is no operation of AWX", hint="plan again", code="operation-unknown") from None
    return handle


def check(settings: AwxSettings, resources: Sequence[Resource], context: Context, revealed: Sequence[SecretValue]) -> Heard:
    """Run the playbook in check mode, and wait for its end. Nothing is left in AWX but the job. A workflow is looked at, and not launched."""
    client, mark = AwxClient(settings, context.deadline), f"check.{uuid4().hex}"
    launch = Launch(client, resources, context, mark)
    reader = Reader(
        hosts=tuple(launch.hosts),
        title=title(resources[0].spec),
        tenant=launch.tenant,
        redact=redactor([*revealed, *launch.vaulted.secrets]),
        context=context,
        check=True,
    )
    if launch.kind == WORKFLOW:
        return _unforeseen(reader)
    inventory = check_inventory(client, launch.known.organization, launch.tenant)
    try:
        job = launch.made(inventory, job_type="check")
        end = waited(client, job, context, settings.timeout_s)
        last = AwxClient(settings, time.monotonic() + CANCEL_S)
        whole = last.get(f"jobs/{job}/")
        return reader.heard(last, Ran(whole=whole, jobs=[whole]), end)
    finally:
        cleaner = AwxClient(settings, time.monotonic() + CANCEL_S)
        with suppress(OctofleetError):
            forgotten(cleaner, mark)
            cleaner.delete(f"inventories/{inventory}/")


def _unforeseen(reader: Reader) -> Heard:
    listener = reader.listener()
    blind = Result(name=reader.title, where="AWX", ended=Ended.SKIPPED, blind=(UNFORESEEN,))
    listener.stories = {host: Story(results=[blind], failed=False, dark=False, complete=True) for host in reader.hosts}
    listener.finished = listener.marked = True
    return Heard(listener=listener, end=End.FINISHED, playbook=reader.title)


def launched(settings: AwxSettings, resources: Sequence[Resource], context: Context, step: str, part: int) -> Handle:
    """Launch the playbook or workflow for real, once for a step: a job that carries its mark is this one, whoever launched it."""
    client = AwxClient(settings, context.deadline)
    names = ",".join(sorted(resource.address for resource in resources))
    mark = f"{step}.{hashlib.sha256(names.encode()).hexdigest()[:16]}"
    launch = Launch(client, resources, context, mark)
    found = launch.already(step)
    if found is None:
        inventory = kept(client, "inventories/", f"octofleet {launch.tenant}", launch.known.organization, {})
        found = Begun(job=launch.made(inventory, job_type="run"), mark=mark, secrets=launch.secrets)
    return Handle(
        provider=settings.name,
        kind=launch.kind,
        job=found.job,
        mark=found.mark,
        tenant=launch.tenant,
        part=part,
        what={name: resources[0].spec[name] for name in PROJECT if name in resources[0].spec},
        hosts={resource.spec["host"]["name"]: (resource.address, resource.digest) for resource in resources},
        secrets=tuple(found.secrets),
    )


def followed(settings: AwxSettings, handle: Handle, context: Context) -> Heard | None:
    """All that was heard of a real run that is over; None while it goes on, or its events are still on their way. One that a person wants to be stopped is
    cancelled in AWX, and goes on until AWX says that it has ended."""
    client = AwxClient(settings, context.deadline)
    ran = over(client, handle.kind, handle.job)
    if ran is None:
        if context.stopped():
            _stopped(client, handle, context)
        return None
    reader = Reader(
        hosts=tuple(handle.hosts),
        title=title(handle.what),
        tenant=handle.tenant,
        redact=redactor(list(_secrets(handle, context))),
        context=context,
        check=False,
        part=handle.part,
    )
    forgotten(client, handle.mark)  # before it is told: what cannot be taken away now is tried again
    return reader.heard(client, ran)


def _stopped(client: AwxClient, handle: Handle, context: Context) -> None:
    """What AWX does not let us cancel goes on, and its hosts are not let go of meanwhile."""
    try:
        stop(client, handle.kind, handle.job)
    except Permanent as error:
        context.log(f"the job {handle.job} cannot be stopped: {error.message}")


def _secrets(handle: Handle, context: Context) -> list[SecretValue]:
    """What to keep out of what is told. What may not be read any more is passed over: the run is over, and its end must be told. What is away for a moment is
    waited for: `RetryLater`."""
    found: list[SecretValue] = []
    for store, key in handle.secrets:
        with suppress(Permanent, Refused):
            found.append(context.secret(SecretRef(store=store, key=key), handle.tenant))
    with suppress(Permanent, Refused):
        found += vaulted(handle.what, handle.tenant, context).secrets
    return found
