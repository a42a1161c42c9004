"""What Octofleet keeps in AWX for its jobs, by name and within one organization: projects, inventories, job templates, and a credential type.

In: a client and what there should be. Out: the ids. Every call may be made again: what is there is looked up by name, and only what differs is
written. Must not: touch anything of another name, or write a secret anywhere but into a credential.
"""

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from reconciler.drivers.ansible.awx_client import AwxClient, Found
from reconciler.errors import OctofleetError, Permanent
from reconciler.types.values import SecretValue

TYPE, VAULT = "Octofleet variables", "Vault"
FIELD = "variables"
SECRETS = "octofleet_secrets"
"""The extra variable in which a job gets the secret values, as JSON by key."""
BULK = 100
"""What AWX makes at most at once, if its setting BULK_HOST_MAX_CREATE is as it comes."""
BULK_BYTES = 700_000
"""And at most so much of variables: the web server before it takes 1 MB, if nobody has said otherwise."""
MOST_NAME = 512
SYNC_POLL_S = 1.0
STALE_S = 86_400
INPUTS = {"fields": [{"id": FIELD, "label": "Variables", "type": "string", "secret": True, "multiline": True}], "required": [FIELD]}
INJECTORS = {"extra_vars": {SECRETS: f"{{{{ {FIELD} }}}}"}}
ASKED = ("variables", "limit", "job_type", "diff_mode", "tags", "verbosity", "inventory", "scm_branch", "credential")
"""What a launch says itself; the template only allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Ids of what is there for a playbook. `credentials`: those that every job gets."""

    organization: int
    project: int
    template: int
    credentials: tuple[int, ...]
    instance_groups: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A playbook of a repository, for a tenant. `own`: it is the repository of the plan."""

    tenant: str
    url: str
    own: bool
    playbook: str
    become: bool


def ensured(client: AwxClient, wanted: Wanted) -> Known:
    """Project and template for a playbook; what the settings name must be there."""
    settings = client.settings
    organization = client.needed("organizations/", settings.organization)["id"]
    credentials = tuple(client.needed("credentials/", name)["id"] for name in settings.credentials)
    groups = tuple(client.needed("instance_groups/", name)["id"] for name in settings.instance_groups)
    project = _project(client, organization, wanted)
    template: dict[str, Any] = {
        "project": project,
        "playbook": wanted.playbook,
        "become_enabled": wanted.become,
        "allow_simultaneous": True,
        "timeout": int(settings.timeout_s),
        "forks": settings.forks,
    }
    template |= {f"ask_{name}_on_launch": True for name in ASKED}
    if settings.execution_environment:
        template["execution_environment"] = client.needed("execution_environments/", settings.execution_environment)["id"]
    if groups:
        template["ask_instance_groups_on_launch"] = True
    name = _name(f"octofleet {wanted.tenant} {wanted.playbook}{' as root' if wanted.become else ''} of {wanted.url}")
    made = kept(client, "job_templates/", name, None, template, project=project)
    return Known(organization=organization, project=project, template=made, credentials=credentials, instance_groups=groups)


def _project(client: AwxClient, organization: int, wanted: Wanted) -> int:
    """The project of a repository, fetched once. The settings' credential is for the host of the plan's repository alone; where another is
    needed, somebody gives it to the project there."""
    values: dict[str, Any] = {"scm_type": "git", "scm_url": wanted.url, "allow_override": True}
    if client.settings.project_credential and wanted.own:
        values["credential"] = client.needed("credentials/", client.settings.project_credential)["id"]
    project = kept(client, "projects/", _name(f"octofleet {wanted.url}"), organization, values)
    _synchronized(client, project)
    return project


def _name(text: str) -> str:
    """A name as long as AWX takes one."""
    return text if len(text) <= MOST_NAME else f"{text[: MOST_NAME - 17]} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def workflow(client: AwxClient, name: str) -> Known:
    """A workflow job template that somebody made there. Raises `Permanent` unless it, and all that it runs on hosts, asks for inventory and limit at its
    launch: what does not runs on other hosts than these."""
    organization = client.needed("organizations/", client.settings.organization)["id"]
    found = client.needed("workflow_job_templates/", name, organization=organization)
    _asks(client, found, ("inventory", "limit", "variables"))
    _nodes_ask(client, int(found["id"]), set())
    return Known(organization=organization, project=0, template=int(found["id"]), credentials=(), instance_groups=())


def _nodes_ask(client: AwxClient, template: int, seen: set[int]) -> None:
    seen.add(template)
    for node in client.every(f"workflow_job_templates/{template}/workflow_nodes/"):
        runs = node.get("unified_job_template")
        kind = ((node.get("summary_fields") or {}).get("unified_job_template") or {}).get("unified_job_type")
        if runs and kind == "job":
            _asks(client, client.get(f"job_templates/{runs}/"), ("inventory", "limit"))
        elif runs and kind == "workflow_job" and int(runs) not in seen:
            _asks(client, client.get(f"workflow_job_templates/{runs}/"), ("inventory", "limit"))
            _nodes_ask(client, int(runs), seen)


def _asks(client: AwxClient, template: Found, names: Sequence[str]) -> None:
    if missing := [name for name in names if not template.get(f"ask_{name}_on_launch")]:
        hint = "set *prompt on launch* for it there"
        raise client.permanent(f"does not ask for {' and '.join(missing)} at the launch of {template.get('name')!r}", hint, "awx-workflow")


def kept(client: AwxClient, path: str, name: str, organization: int | None, wanted: Mapping[str, Any], **within: object) -> int:
    """The id of the thing of this name, made or brought to what is wanted. Another process may make it at the same time."""
    scope = within | ({} if organization is None else {"organization": organization})
    found = client.named(path, name, **scope)
    if found is None:
        owned: dict[str, Any] = {"name": name, "description": "kept by Octofleet"} | (
            {} if organization is None else {"organization": organization}
        )
        found = _new(client, path, owned | dict(wanted), **scope)
    differing = {key: value for key, value in wanted.items() if found.get(key) != value}
    if differing:
        client.patch(f"{path}{found['id']}/", differing)
    return int(found["id"])


def _new(client: AwxClient, path: str, body: Found, **scope: object) -> Found:
    """What is made, or was made meanwhile: by another process, or by this call though its answer is lost."""
    try:
        return client.post(path, body)
    except OctofleetError:
        found = client.named(path, body["name"], **scope)
        if found is None:
            raise
        return found


def _synchronized(client: AwxClient, project: int) -> None:
    """Wait for the first fetch: jobs of a project whose fetch failed, or that was never fetched, do not start."""
    asked = False
    while True:
        found = client.get(f"projects/{project}/")
        status = found.get("status")
        if status in ("successful", "ok"):
            return
        if status in ("failed", "error", "canceled", "never updated", "missing"):
            if asked:
                hint = "look at the project's last update there; its project_credential may be missing"
                raise client.permanent(f"cannot fetch the project {found.get('name')!r}", hint, "awx-project")
            client.post(f"projects/{project}/update/", {})
            asked = True
        if client.deadline - time.monotonic() < SYNC_POLL_S:
            raise client.later("has not fetched the project yet", "it is tried again")
        time.sleep(SYNC_POLL_S)


def check_inventory(client: AwxClient, organization: int, tenant: str) -> int:
    """A new inventory for one check: another plan's hosts have other variables at the same time. What a killed process left for a day is removed."""
    prefix = f"octofleet check {tenant} "
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - STALE_S))
    for old in client.get("inventories/", name__startswith=prefix, organization=organization, created__lt=before).get("results") or ():
        client.delete(f"inventories/{old['id']}/")
    return kept(client, "inventories/", prefix + uuid4().hex, organization, {})


def filled(client: AwxClient, inventory: int, hosts: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Collection[str]]) -> None:
    """Bring these hosts' variables and groups in an inventory to what they should be; other hosts stay as they are."""
    there = {found["name"]: found for found in _some(client, f"inventories/{inventory}/hosts/", list(hosts))}
    new = [{"name": name, "variables": json.dumps(variables)} for name, variables in hosts.items() if name not in there]
    for batch in _batches(new):
        _made(client, inventory, batch)
    for name, found in there.items():
        if _parsed(found.get("variables")) != hosts[name] or not found.get("enabled", True):
            client.patch(f"hosts/{found['id']}/", {"variables": json.dumps(hosts[name]), "enabled": True})
    if new:
        there = {found["name"]: found for found in _some(client, f"inventories/{inventory}/hosts/", list(hosts))}
    _grouped(client, inventory, {name: there[name]["id"] for name in hosts if name in there}, groups)


def _batches(hosts: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size = 0
    for host in hosts:
        more = len(json.dumps(host))
        if batch and (len(batch) == BULK or size + more > BULK_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(host)
        size += more
    if batch:
        yield batch


def _made(client: AwxClient, inventory: int, hosts: Sequence[Found]) -> None:
    """At once where AWX can (since 21.12), else one by one."""
    try:
        client.post("bulk/host_create/", {"inventory": inventory, "hosts": hosts})
    except Permanent as error:
        if error.code != "awx-missing":
            raise
        for host in hosts:
            client.post(f"inventories/{inventory}/hosts/", host)


def _grouped(client: AwxClient, inventory: int, ids: Mapping[str, int], groups: Mapping[str, Collection[str]]) -> None:
    known = {found["name"]: found["id"] for found in client.every(f"inventories/{inventory}/groups/")}
    for name in sorted({one for several in groups.values() for one in several} - known.keys()):
        known[name] = _new(client, "groups/", {"name": name, "inventory": inventory}, inventory=inventory)["id"]
    for name, group in known.items():
        wanted = {ids[host] for host, several in groups.items() if name in several and host in ids}
        there = {found["id"] for found in _some(client, f"groups/{group}/hosts/", list(ids))}
        for host in sorted(wanted - there):
            client.post(f"groups/{group}/hosts/", {"id": host})
        for host in sorted(there - wanted):
            client.post(f"groups/{group}/hosts/", {"id": host, "disassociate": True})


def _some(client: AwxClient, path: str, names: Sequence[str]) -> Iterator[Found]:
    """Those of a list that have one of the names; asked for in parts, for a URL has an end."""
    for start in range(0, len(names), BULK):
        yield from client.every(path, name__in=",".join(names[start : start + BULK]))


def _parsed(variables: object) -> object:
    try:
        return json.loads(variables) if isinstance(variables, str) else None
    except ValueError:
        return None


def secret_credential(client: AwxClient, organization: int, mark: str, values: Mapping[str, str]) -> int:
    """A credential that gives one job its secret values; AWX stores it encrypted and never shows it."""
    try:
        wanted = {"name": TYPE, "kind": "cloud", "inputs": INPUTS, "injectors": INJECTORS}
        found = client.named("credential_types/", TYPE) or _new(client, "credential_types/", wanted)
    except Permanent as error:
        hint = f"have an administrator of AWX make the credential type {TYPE!r} as docs/awx.md shows"
        raise Permanent(error.message, hint=hint, code="secret-unavailable") from None
    if (found.get("inputs"), found.get("injectors")) != (INPUTS, INJECTORS):
        hint = "have an administrator of AWX correct it as docs/awx.md shows"
        raise client.permanent(f"has another credential type {TYPE!r} than Octofleet's", hint, "secret-unavailable")
    body = {
        "name": f"octofleet {mark}",
        "organization": organization,
        "credential_type": found["id"],
        "inputs": {FIELD: json.dumps(values)},
    }
    return int(client.post("credentials/", body)["id"])


def vault_credential(client: AwxClient, organization: int, mark: str, name: str, password: SecretValue) -> int:
    """A credential that gives one job the password of a vault id."""
    kind = client.needed("credential_types/", VAULT, namespace="vault")["id"]
    body = {"name": _name(f"octofleet {mark} vault {name}"), "organization": organization, "credential_type": kind}
    return int(client.post("credentials/", body | {"inputs": {"vault_id": name, "vault_password": password.reveal()}})["id"])


def forgotten(client: AwxClient, mark: str) -> None:
    """Take a job's credentials away."""
    for found in list(client.every("credentials/", name__startswith=f"octofleet {mark}")):
        client.delete(f"credentials/{found['id']}/")
