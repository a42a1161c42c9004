"""How playbooks are run, as the server's settings say it and never Git: `[ansible]`, and for what names another way `[ansible.providers]`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reconciler.drivers.ansible.awx_client import AwxSettings

if TYPE_CHECKING:
    from reconciler.settings import Ansible, AnsibleProvider

MITOGEN = "mitogen"
"""The provider that is there without being set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleSettings:
    """Runs on this machine. Host keys are always checked: against `known_hosts_file`, else against ssh's own files; before these against what installers told.

    `timeout_s`: the longest one run may take. `ssh_common_args`: for a jump host and the like; the user's ssh configuration is not read. `forks`: hosts
    at once, 0: as many as this machine has room for. `tenants`: who may be run so. `keep`: which results of tasks are told one by one, `changes` or `all`.
    `tenant_keys`: the keys of single tenants, in place of the one of all. `isolation`: auto, required or off; `visible`: what an isolated run may see and
    change of this machine besides its own.
    """

    private_key_file: Path | None = None
    known_hosts_file: Path | None = None
    user: str = ""
    forks: int = 0
    timeout_s: float = 600.0
    ssh_common_args: str = ""
    strategy: str = "linear"
    tenants: tuple[str, ...] = ("*",)
    keep: str = "changes"
    tenant_keys: Mapping[str, Path] = field(default_factory=dict)
    isolation: str = "auto"
    visible: tuple[Path, ...] = ()

    def of(self, tenant: str) -> "AnsibleSettings":
        """The settings for a tenant's hosts."""
        return replace(self, private_key_file=self.tenant_keys.get(tenant, self.private_key_file), tenant_keys={})


Way: TypeAlias = AnsibleSettings | AwxSettings


def ansible_settings(table: "Ansible") -> AnsibleSettings:
    """Of the table `[ansible]`."""
    return AnsibleSettings(
        private_key_file=_path(table.private_key_file),
        known_hosts_file=_path(table.known_hosts_file),
        user=table.user,
        forks=table.forks,
        timeout_s=table.timeout_s,
        ssh_common_args=table.ssh_common_args,
        keep=table.keep,
        tenant_keys={tenant: Path(path).expanduser() for tenant, path in table.tenant_keys.items()},
        isolation=table.isolation,
        visible=tuple(Path(path).expanduser() for path in table.visible),
    )


def ansible_providers(table: "Ansible") -> dict[str, Way]:
    """What `ansibleProvider` may name: the settings of `[ansible]`, but for what each of `[ansible.providers]` says otherwise; and `mitogen`, for all."""
    default = ansible_settings(table)
    found: dict[str, Way] = {MITOGEN: replace(default, strategy="mitogen_linear")}
    for name, provider in table.providers.items():
        found[name] = _awx(name, default, provider) if provider.type == "awx" else _local(default, provider)
    return found


def _local(default: AnsibleSettings, table: "AnsibleProvider") -> AnsibleSettings:
    own_key = _path(table.private_key_file)
    return replace(
        default,
        private_key_file=own_key or default.private_key_file,
        tenant_keys={} if own_key else default.tenant_keys,
        known_hosts_file=_path(table.known_hosts_file) or default.known_hosts_file,
        user=table.user or default.user,
        forks=table.forks or default.forks,
        timeout_s=table.timeout_s or default.timeout_s,
        ssh_common_args=table.ssh_common_args or default.ssh_common_args,
        strategy=table.strategy,
        tenants=tuple(table.tenants),
    )


def _awx(name: str, default: AnsibleSettings, table: "AnsibleProvider") -> AwxSettings:
    return AwxSettings(
        name=name,
        url=table.url,
        organization=table.organization,
        token_file=_path(table.token_file),
        token_env=table.token_env,
        ca_file=_path(table.ca_file),
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


def _path(text: str) -> Path | None:
    """Empty where there is none."""
    return Path(text).expanduser() if text else None
