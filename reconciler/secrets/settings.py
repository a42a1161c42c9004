"""What the server's settings say of secret stores and Ansible vault ids. Values only; nothing is opened here.

`tenants` lists the tenants that may read a store; `"*"` stands for all of them and for what belongs to no tenant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

EVERYONE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvStore:
    """Environment variables of the server whose names are `prefix` and the key. An empty prefix would open them all and is refused."""

    name: str
    prefix: str
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryStore:
    """One file for each key below `path`, as systemd credentials and Kubernetes secret volumes are."""

    name: str
    path: Path
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultStore:
    """A KV mount of HashiCorp Vault or OpenBao. The token is read for each use from `token_file`, or from the variable `token_env`."""

    name: str
    url: str
    mount: str
    tenants: tuple[str, ...]
    token_file: Path | None = None
    token_env: str = ""
    kv_version: int = 2
    namespace: str = ""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultId:
    """An Ansible vault id: the password, in a file, of `!vault` values in manifests."""

    name: str
    tenants: tuple[str, ...]
    password_file: Path


Store: TypeAlias = EnvStore | DirectoryStore | VaultStore


def granted(tenants: tuple[str, ...], tenant: str) -> bool:
    """Whether a tenant is among those granted. What belongs to no tenant has the empty name."""
    return EVERYONE in tenants or (bool(tenant) and tenant in tenants)
