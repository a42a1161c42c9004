"""What one job or workflow job of AWX is made of, and its launch.

In: resources that share a run, and what AWX keeps for them. Out: a launched job's id. Secrets and passwords of vault ids go into credentials for this job
alone; the inventory holds templates that refer to them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from reconciler.drivers.ansible.awx_client import AwxClient, Found
from reconciler.drivers.ansible.awx_jobs import JOB, WORKFLOW, cancelled
from reconciler.drivers.ansible.awx_objects import (
    SECRETS,
    Known,
    Wanted,
    ensured,
    filled,
    forgotten,
    secret_credential,
    vault_credential,
    workflow,
)
from reconciler.drivers.ansible.groups import groups
from reconciler.drivers.ansible.inventory import UNSAFE, host_variables
from reconciler.drivers.ansible.project import export_project
from reconciler.drivers.ansible.vaulted import opened
from reconciler.drivers.driver import Context
from reconciler.errors import Permanent, Refused
from reconciler.trees import temporary_directory
from reconciler.types.resource import Resource
from reconciler.types.values import SecretRef, SecretValue, Spec, secrets_in

MARK, RESOURCES, REFERENCES = "octofleet_mark", "octofleet_resources", "octofleet_secrets"
"""Extra variables of a job: the step's id with a digest, the addresses that it is for, and which secrets it uses, as stores and keys."""
NEWEST = 1000
"""Among how many of a template's newest jobs the one of a step is looked for."""
NEEDED = frozenset(
    {"limit", "job_type", "inventory", "scm_branch", "credentials", "diff_mode", "instance_groups", "job_tags", "extra_vars"}
)
"""What of a launch may not be passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A job of a step: its id, its mark, and the secrets that it uses, by store and key."""

    job: int
    mark: str
    secrets: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vaulted:
    """Passwords of the vault ids that a project needs, and what its vault texts hold."""

    passwords: Mapping[str, SecretValue]
    secrets: Sequence[SecretValue] = ()


def vaulted(spec: Spec, tenant: str, context: Context) -> Vaulted:
    """Of the project of a specification, which is written and read for it; so what is not there, or not allowed, is known before AWX is asked for
    it. Raises as a run on this machine does."""
    if "workflow" in spec:
        return Vaulted(passwords={})
    with temporary_directory("awx-", context.scratch) as directory:
        project = directory / "project"
        export_project(spec, project, context.export, context.export_from)
        try:
            found = opened(project, spec["project"], tenant, lambda: context.passwords(tenant))
            passwords = context.passwords(tenant) if found.ids else {}
        except (Permanent, Refused) as error:
            raise Permanent(error.message, hint=error.hint, code="secret-unavailable") from error
    return Vaulted(passwords={name: passwords[name] for name in sorted(found.ids)}, secrets=found.values())


class Launch:
    """One launch. `hosts`: their variables, by name. `kind`: what is launched, a job or a workflow job. `secrets`: those that it uses, by store and key."""

    def __init__(self, client: AwxClient, resources: Sequence[Resource], context: Context, mark: str) -> None:
        first = resources[0]
        self._client, self._mark, self._spec = client, mark, first.spec
        self.kind = WORKFLOW if "workflow" in first.spec else JOB
        self.tenant = first.rules.tenant
        self.vaulted = vaulted(first.spec, self.tenant, context)
        self._secrets: dict[str, str] = {}
        self.secrets = sorted({(secret.ref.store, secret.ref.key) for resource in resources for secret in secrets_in(resource.spec)})
        self._addresses = sorted(resource.address for resource in resources)
        self.hosts = {resource.spec["host"]["name"]: self._variables(resource, context) for resource in resources}
        self._groups = {resource.spec["host"]["name"]: groups(resource.spec["host"]) for resource in resources}
        self._commit, self.known = self._ensured(context)

    def _ensured(self, context: Context) -> tuple[str, Known]:
        spec = self._spec
        if "workflow" in spec:
            if self._secrets:
                hint = "keep them in credentials of AWX that its job templates name"
                raise Permanent("AWX takes no secrets at the launch of a workflow", hint=hint, code="secret-unavailable")
            return "", workflow(self._client, spec["workflow"])
        other = spec.get("repository")
        commit = other["commit"] if other else context.commit
        if not commit:
            raise Permanent("AWX needs the commit of the plan, which is not known here", hint="plan from a repository", code="awx-commit")
        wanted = Wanted(
            tenant=self.tenant,
            url=other["url"] if other else self._client.settings.project_url or context.location,
            own=other is None,
            playbook=spec["playbook"],
            become=spec.get("become") is True,
        )
        return commit, ensured(self._client, wanted)

    def _variables(self, resource: Resource, context: Context) -> dict[str, Any]:
        """As a run here has them, but with a template for each secret: its value goes another way."""

        def reveal(ref: SecretRef) -> SecretValue:
            key = hashlib.sha256(f"{ref.store}\0{ref.key}".encode()).hexdigest()[:32]
            self._secrets[key] = context.secret(ref, resource.rules.tenant).reveal()
            return SecretValue(key)

        variables, _ = host_variables(resource.spec, self._client.settings.user, reveal)
        return {name: _referring(value) for name, value in variables.items()}

    def already(self, step: str) -> Begun | None:
        """The job of this step for these resources, whoever launched it. It may be for more of them: those have ended since, as others see it.
        AWX lets nobody search by extra variables, so the newest jobs of the template are read."""
        for job in self._newest():
            with suppress(ValueError, TypeError, AttributeError, KeyError):
                told = json.loads(job["extra_vars"] or "{}")
                if told[MARK].startswith(f"{step}.") and set(self._addresses) <= set(told[RESOURCES]):
                    secrets = [(str(store), str(key)) for store, key in told[REFERENCES]]
                    return Begun(job=int(job["id"]), mark=str(told[MARK]), secrets=secrets)
        return None

    def _newest(self) -> list[Found]:
        """With their extra variables: a fork of AWX (Ascender) lists them only when asked to, and AWX refuses to be asked."""
        for asked in ({}, {"include": "extra_vars"}):
            jobs = list(islice(self._client.every(f"{self._template}{self.kind}/", order_by="-id", **asked), NEWEST))
            if all("extra_vars" in job for job in jobs):
                return jobs
        raise self._client.permanent("does not tell the extra variables of jobs", "look at what release it is", "awx-answer")

    @property
    def _template(self) -> str:
        return f"{'workflow_job_templates' if self.kind == WORKFLOW else 'job_templates'}/{self.known.template}/"

    def made(self, inventory: int, *, job_type: str) -> int:
        """Fill the inventory, and launch. Raises `RetryLater` where AWX may have launched it though it did not say so; where it refuses, no
        credential stays."""
        try:
            return self._launched(inventory, job_type)
        except Permanent:
            with suppress(Permanent):
                forgotten(self._client, self._mark)
            raise

    def _launched(self, inventory: int, job_type: str) -> int:
        client = self._client
        filled(client, inventory, self.hosts, self._groups)
        body: dict[str, Any] = {
            "inventory": inventory,
            "limit": ",".join(self.hosts),
            "extra_vars": {MARK: self._mark, RESOURCES: self._addresses, REFERENCES: self.secrets},
        }
        if self.kind == JOB:
            body |= self._of_job(job_type)
        answer = client.post(f"{self._template}launch/", body)
        if ignored := sorted(NEEDED & set(answer.get("ignored_fields") or ())):
            cancelled(client, self.kind, int(answer["id"]))
            hint = "let the template ask for it on launch; Octofleet does so itself where it may"
            raise client.permanent(f"passes over {', '.join(ignored)} at the launch", hint)
        return int(answer["id"])

    def _of_job(self, job_type: str) -> Found:
        known = self.known
        credentials = list(known.credentials)
        forgotten(self._client, self._mark)  # of a launch that came to nothing
        if self._secrets:
            credentials.append(secret_credential(self._client, known.organization, self._mark, self._secrets))
        for name, password in self.vaulted.passwords.items():
            credentials.append(vault_credential(self._client, known.organization, self._mark, name, password))
        body = {
            "job_type": job_type,
            "scm_branch": self._commit,
            "diff_mode": True,
            "verbosity": 1,
            "job_tags": ",".join(self._spec.get("tags") or ()),
            "credentials": credentials,
        }
        return body | ({"instance_groups": list(known.instance_groups)} if known.instance_groups else {})


def _referring(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {UNSAFE}:
            return f"{{{{ ({SECRETS} | from_json)['{value[UNSAFE]}'] }}}}"
        return {name: _referring(item) for name, item in value.items()}
    return [_referring(item) for item in value] if isinstance(value, list) else value
