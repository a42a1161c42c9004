"""What `octofleet doctor` finds of each provider of type `awx`: whether it answers, knows the token, and has what the settings name."""

import time
from collections.abc import Iterator
from functools import partial

from reconciler.cli.finding import WARNING, Finding, tried
from reconciler.drivers.ansible.awx_client import AwxClient, AwxSettings
from reconciler.drivers.ansible.awx_objects import TYPE
from reconciler.drivers.ansible.settings import ansible_providers
from reconciler.settings import Ansible

LOOK_S = 20.0


def awx_findings(table: Ansible) -> Iterator[Finding]:
    """One for each provider; nothing is changed there."""
    for name, way in ansible_providers(table).items():
        if isinstance(way, AwxSettings):
            yield tried(f"awx {name}", partial(_looked, way))


def _looked(settings: AwxSettings) -> str | Finding:
    client = AwxClient(settings, time.monotonic() + LOOK_S)
    version = client.get("ping/").get("version", "of no version")
    client.needed("organizations/", settings.organization)
    for name in filter(None, (*settings.credentials, settings.project_credential)):
        client.needed("credentials/", name)
    for name in settings.instance_groups:
        client.needed("instance_groups/", name)
    if settings.execution_environment:
        client.needed("execution_environments/", settings.execution_environment)
    if client.named("credential_types/", TYPE) is None:
        text = f"{version} at {settings.url} has no credential type {TYPE!r} yet, which secrets in variables need"
        return Finding(f"awx {settings.name}", WARNING, text, "make it as docs/awx.md shows, or let the token's user make it")
    return f"{version} at {settings.url}, organization {settings.organization}"
