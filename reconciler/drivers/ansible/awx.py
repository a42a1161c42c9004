"""Playbooks run by AWX, Tower or Automation Platform instead of this machine: launch a job, follow it, read its events, cancel it.

In: resources that share a run. Out: what `verdict` needs, from the same events in the same shape. A check is waited for and cancelled there when there is no
time left. A real run is durable: it carries a mark (an extra variable) with the step's id, which is looked for before anything is launched, and its handle
holds all that another process needs. Secrets go into a credential for this job alone, deleted afterwards; the inventory holds templates that refer to it.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from reconciler.drivers.ansible.awx_client import AwxClient, AwxSettings, Found
from reconciler.drivers.ansible.awx_objects import SECRETS, check_inventory, ensured, filled, forgotten, kept, secret_credential
from reconciler.drivers.ansible.events import Listener
from reconciler.drivers.ansible.groups import groups
from reconciler.drivers.ansible.inventory import UNSAFE, host_variables
from reconciler.drivers.ansible.run import End
from reconciler.drivers.ansible.verdict import Heard
from reconciler.drivers.driver import Context
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.secrets.redact import redactor
from reconciler.types.resource import Resource
from reconciler.types.values import SecretRef, SecretValue, secrets_in

PROJECT = Path("/runner/project")
"""Where AWX has the repository in a job."""
MARK = "octofleet_mark"
NEWEST = 1000
"""Among how many of a template's newest jobs the one of a step is looked for."""
POLL_S, MOST_POLL_S = 1.0, 5.0
CANCEL_S = 60.0
OPEN = frozenset({"new", "pending", "waiting", "running"})
STATUSES = OPEN | {"successful", "failed", "error", "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A job under way, for any process. `hosts`: digests of what is desired, by name and address; `secrets`: what to keep out of texts, by reference."""

    provider: str
    job: int
    mark: str
    tenant: str
    playbook: str
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
        return Handle(hosts=hosts, secrets=[(str(store), str(key)) for store, key in found.pop("secrets")], **found)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Permanent("this is no operation of AWX", hint="plan again", code="operation-unknown") from None


def check(settings: AwxSettings, resources: Sequence[Resource], context: Context, revealed: Sequence[SecretValue]) -> Heard:
    """Run the playbook in check mode, and wait for its end. Nothing is left in AWX but the job."""
    client, mark = AwxClient(settings, context.deadline), f"check.{uuid4().hex}"
    launch = _Launch(client, resources, context, mark)
    inventory = check_inventory(client, launch.known.organization, launch.tenant)
    try:
        job = launch.made(inventory, job_type="check")
        end = _waited(client, job, context, settings.timeout_s)
        return heard(
            AwxClient(settings, time.monotonic() + CANCEL_S), job, tuple(launch.hosts), launch.playbook, revealed, check=True, end=end
        )
    finally:
        cleaner = AwxClient(settings, time.monotonic() + CANCEL_S)
        with suppress(OctofleetError):
            forgotten(cleaner, mark)
            cleaner.delete(f"inventories/{inventory}/")


def launched(settings: AwxSettings, resources: Sequence[Resource], context: Context, step: str) -> Handle:
    """Launch the playbook for real, once for a step: a job that carries its mark is this one, whoever launched it."""
    client = AwxClient(settings, context.deadline)
    names = ",".join(sorted(resource.address for resource in resources))
    mark = f"{step}.{hashlib.sha256(names.encode()).hexdigest()[:16]}"
    launch = _Launch(client, resources, context, mark)
    job = _marked(client, launch.known.template, mark)
    if job is None:
        inventory = kept(client, "inventories/", f"octofleet {launch.tenant}", launch.known.organization, {})
        job = launch.made(inventory, job_type="run")
    refs = dict.fromkeys((secret.ref.store, secret.ref.key) for resource in resources for secret in secrets_in(resource.spec))
    hosts = {resource.spec["host"]["name"]: (resource.address, resource.digest) for resource in resources}
    return Handle(
        provider=settings.name, job=job, mark=mark, tenant=launch.tenant, playbook=launch.playbook, hosts=hosts, secrets=tuple(refs)
    )


def followed(settings: AwxSettings, handle: Handle, context: Context) -> Heard | None:
    """All that was heard of a real run that is over; None while it goes on, or its events are still on their way."""
    client = AwxClient(settings, context.deadline)
    job = client.get(f"jobs/{handle.job}/")
    if _status(client, job) in OPEN or job.get("event_processing_finished") is False:
        return None
    revealed = []
    for store, key in handle.secrets:
        with suppress(OctofleetError):
            revealed.append(context.secret(SecretRef(store=store, key=key), handle.tenant))
    found = heard(client, handle.job, tuple(handle.hosts), handle.playbook, revealed, check=False, log=context.log)
    forgotten(client, handle.mark)
    return found


class _Launch:
    """What one job is made of."""

    def __init__(self, client: AwxClient, resources: Sequence[Resource], context: Context, mark: str) -> None:
        first = resources[0]
        if not context.commit:
            raise Permanent("AWX needs the commit of the plan, which is not known here", hint="plan from a repository", code="awx-commit")
        self._client, self._mark, self._commit = client, mark, context.commit
        self.tenant, self.playbook, self._tags = first.rules.tenant, str(first.spec["playbook"]), first.spec.get("tags") or ()
        self._secrets: dict[str, str] = {}
        self.hosts = {resource.spec["host"]["name"]: self._variables(resource, context) for resource in resources}
        self._groups = {resource.spec["host"]["name"]: groups(resource.spec["host"]) for resource in resources}
        become = first.spec.get("become") is True
        self.known = ensured(client, tenant=self.tenant, url=context.location, playbook=self.playbook, become=become)

    def _variables(self, resource: Resource, context: Context) -> dict[str, Any]:
        """As a run here has them, but with a template for each secret: its value goes another way."""

        def reveal(ref: SecretRef) -> SecretValue:
            key = hashlib.sha256(f"{ref.store}\0{ref.key}".encode()).hexdigest()[:32]
            self._secrets[key] = context.secret(ref, resource.rules.tenant).reveal()
            return SecretValue(key)

        variables, _ = host_variables(resource.spec, self._client.settings.user, reveal)
        return {name: _referring(value) for name, value in variables.items()}

    def made(self, inventory: int, *, job_type: str) -> int:
        """Fill the inventory, and launch. Raises `RetryLater` where AWX may have launched it though it did not say so."""
        client, known = self._client, self.known
        filled(client, inventory, self.hosts, self._groups)
        credentials = list(known.credentials)
        if self._secrets:
            credentials.append(secret_credential(client, known.organization, self._mark, self._secrets))
        body: dict[str, Any] = {
            "job_type": job_type,
            "inventory": inventory,
            "limit": ",".join(self.hosts),
            "extra_vars": {MARK: self._mark},
            "scm_branch": self._commit,
            "diff_mode": True,
            "verbosity": 1,
            "job_tags": ",".join(self._tags),
            "credentials": credentials,
        }
        if known.instance_groups:
            body["instance_groups"] = list(known.instance_groups)
        answer = client.post(f"job_templates/{known.template}/launch/", body)
        if ignored := sorted(
            set(answer.get("ignored_fields") or ()) & {"limit", "job_type", "inventory", "scm_branch", "credentials", "diff_mode"}
        ):
            _cancelled(client, int(answer["id"]))
            hint = "let the template ask for it on launch; Octofleet does so itself where it may"
            raise client.permanent(f"passes over {', '.join(ignored)} at the launch", hint)
        return int(answer["id"])


def _referring(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {UNSAFE}:
            return f"{{{{ ({SECRETS} | from_json)['{value[UNSAFE]}'] }}}}"
        return {name: _referring(item) for name, item in value.items()}
    return [_referring(item) for item in value] if isinstance(value, list) else value


def _marked(client: AwxClient, template: int, mark: str) -> int | None:
    """The job of this mark. AWX lets nobody search by extra variables, so the newest jobs of the template are read."""
    for number, job in enumerate(client.every(f"job_templates/{template}/jobs/", order_by="-id", job_type="run")):
        if number >= NEWEST:
            break
        with suppress(ValueError, TypeError, AttributeError):
            if json.loads(job.get("extra_vars") or "{}").get(MARK) == mark:
                return int(job["id"])
    return None


def _waited(client: AwxClient, job: int, context: Context, timeout_s: float) -> End | None:
    """Until its end and its last event; why it was stopped, if it was. A moment in which AWX is away is waited out."""
    until, pause_s = min(context.deadline - CALL_LEFT_S, time.monotonic() + timeout_s + CANCEL_S), POLL_S
    while True:
        with suppress(RetryLater):
            found = client.get(f"jobs/{job}/")
            if _status(client, found) not in OPEN and found.get("event_processing_finished") is not False:
                return None
        if context.cancelled() or time.monotonic() >= until:
            _cancelled(AwxClient(client.settings, time.monotonic() + CANCEL_S), job)
            return End.CANCELLED if context.cancelled() else End.TIMEOUT
        time.sleep(min(pause_s, max(0.0, until - time.monotonic())))
        pause_s = min(pause_s * 1.5, MOST_POLL_S)


CALL_LEFT_S = 5.0
"""What is kept of a call's time for the end of a job that has to be stopped."""


def _cancelled(client: AwxClient, job: int) -> None:
    """Cancel a job, and wait until it has really ended. It may have ended by itself: then AWX answers 405."""
    try:
        client.post(f"jobs/{job}/cancel/", {})
    except Permanent:
        if not client.get(f"jobs/{job}/cancel/").get("can_cancel"):
            return
        raise
    while client.get(f"jobs/{job}/").get("status") in OPEN:
        time.sleep(POLL_S)


def _status(client: AwxClient, job: Found) -> str:
    status = str(job.get("status", ""))
    if status not in STATUSES:
        raise client.permanent("tells of a job in a state that is not known", "update Octofleet", "awx-answer")
    return status


def heard(
    client: AwxClient,
    job: int,
    hosts: Sequence[str],
    playbook: str,
    revealed: Sequence[SecretValue],
    *,
    check: bool,
    end: End | None = None,
    log: Any = None,
) -> Heard:
    """Read a job that is over, from its first event on."""
    listener = Listener(
        hosts=hosts, project=PROJECT, wrapper=None, told_as="", check=check, redact=redactor(revealed), log=log or (lambda line: None)
    )
    found = client.get(f"jobs/{job}/")
    for event in client.every(f"jobs/{job}/job_events/", order_by="counter", no_truncate=1):
        listener(event)
    if said := "\n".join(filter(None, (found.get("job_explanation"), found.get("result_traceback")))):
        listener.told(f"ERROR: AWX says of job {job}: {said}")
    return Heard(listener=listener, end=end or _end(found), playbook=playbook)


def _end(job: Found) -> End:
    if job["status"] == "canceled":
        return End.CANCELLED
    if "due to timeout" in str(job.get("job_explanation", "")):
        return End.TIMEOUT
    return End.BROKEN if job["status"] == "error" else End.FINISHED
