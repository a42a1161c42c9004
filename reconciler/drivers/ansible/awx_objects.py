"""What Octofleet keeps in AWX for its jobs, by name and within one organization: a project, inventories, job templates, and a credential type.

In: a client and what there should be. Out: the ids. Every call may be made again: what is there is looked up by name, and only what differs is
written. Must not: touch anything of another name, or write a secret anywhere but into a credential.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from reconciler.drivers.ansible.awx_client import AwxClient, Found
from reconciler.errors import OctofleetError, Permanent

TYPE = "Octofleet variables"
FIELD = "variables"
SECRETS = "octofleet_secrets"
"""The extra variable in which a job gets the secret values, as JSON by key."""
BULK = 100
"""What AWX makes at most at once, if its setting BULK_HOST_MAX_CREATE is as it comes."""
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


def ensured(client: AwxClient, *, tenant: str, url: str, playbook: str, become: bool) -> Known:
    """Project and template for a playbook of the repository at `url`; what the settings name must be there."""
    settings = client.settings
    organization = client.needed("organizations/", settings.organization)["id"]
    credentials = tuple(client.needed("credentials/", name)["id"] for name in settings.credentials)
    groups = tuple(client.needed("instance_groups/", name)["id"] for name in settings.instance_groups)
    wanted: dict[str, Any] = {"scm_type": "git", "scm_url": settings.project_url or url, "allow_override": True}
    if settings.project_credential:
        wanted["credential"] = client.needed("credentials/", settings.project_credential)["id"]
    project = kept(client, "projects/", f"octofleet {settings.project_url or url}", organization, wanted)
    _synchronized(client, project)
    template: dict[str, Any] = {
        "project": project,
        "playbook": playbook,
        "become_enabled": become,
        "allow_simultaneous": True,
        "timeout": int(settings.timeout_s),
        "forks": settings.forks,
    }
    template |= {f"ask_{name}_on_launch": True for name in ASKED}
    if settings.execution_environment:
        template["execution_environment"] = client.needed("execution_environments/", settings.execution_environment)["id"]
    if groups:
        template["ask_instance_groups_on_launch"] = True
    name = f"octofleet {tenant} {playbook}{' as root' if become else ''}"
    made = kept(client, "job_templates/", name, None, template, project=project)
    return Known(organization=organization, project=project, template=made, credentials=credentials, instance_groups=groups)


def kept(client: AwxClient, path: str, name: str, organization: int | None, wanted: Mapping[str, Any], **within: object) -> int:
    """The id of the thing of this name, made or brought to what is wanted. Another process may make it at the same time."""
    scope = within | ({} if organization is None else {"organization": organization})
    found = client.named(path, name, **scope)
    if found is None:
        owned: dict[str, Any] = {"name": name, "description": "kept by Octofleet"} | (
            {} if organization is None else {"organization": organization}
        )
        try:
            return int(client.post(path, owned | dict(wanted))["id"])
        except OctofleetError:
            found = client.named(path, name, **scope)
            if found is None:
                raise
    differing = {key: value for key, value in wanted.items() if found.get(key) != value}
    if differing:
        client.patch(f"{path}{found['id']}/", differing)
    return int(found["id"])


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
    for start in range(0, len(new), BULK):
        _made(client, inventory, new[start : start + BULK])
    for name, found in there.items():
        if _parsed(found.get("variables")) != hosts[name] or not found.get("enabled", True):
            client.patch(f"hosts/{found['id']}/", {"variables": json.dumps(hosts[name]), "enabled": True})
    if new:
        there = {found["name"]: found for found in _some(client, f"inventories/{inventory}/hosts/", list(hosts))}
    _grouped(client, inventory, {name: there[name]["id"] for name in hosts if name in there}, groups)


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
        known[name] = client.post("groups/", {"name": name, "inventory": inventory})["id"]
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
    """A credential that gives one job its secret values; AWX stores it encrypted and never shows it. A former one of the same mark is replaced."""
    try:
        found = client.named("credential_types/", TYPE)
        kind = (
            found["id"]
            if found
            else client.post("credential_types/", {"name": TYPE, "kind": "cloud", "inputs": INPUTS, "injectors": INJECTORS})["id"]
        )
    except Permanent as error:
        hint = f"have an administrator of AWX make the credential type {TYPE!r} as docs/awx.md shows"
        raise Permanent(error.message, hint=hint, code="secret-unavailable") from None
    if found and (found.get("inputs"), found.get("injectors")) != (INPUTS, INJECTORS):
        hint = "have an administrator of AWX correct it as docs/awx.md shows"
        raise client.permanent(f"has another credential type {TYPE!r} than Octofleet's", hint, "secret-unavailable")
    forgotten(client, mark)
    body = {"name": f"octofleet {mark}", "organization": organization, "credential_type": kind, "inputs": {FIELD: json.dumps(values)}}
    return int(client.post("credentials/", body)["id"])


def forgotten(client: AwxClient, mark: str) -> None:
    """Take a job's credential away."""
    found = client.named("credentials/", f"octofleet {mark}")
    if found is not None:
        client.delete(f"credentials/{found['id']}/")
