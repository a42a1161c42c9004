"""The secret stores that the server's settings describe."""

from pathlib import Path

from reconciler import settings
from reconciler.errors import OctofleetError
from reconciler.secrets.settings import DirectoryStore, EnvStore, Store, VaultId, VaultStore
from reconciler.secrets.stores import SecretStores

NEEDED = {"env": ("prefix",), "directory": ("path",), "vault": ("url",)}


def configured(said: settings.Secrets, key: bytes) -> SecretStores:
    """Raises `OctofleetError` naming the setting that is missing."""
    ids = [
        VaultId(name=name, tenants=tuple(item.tenants), password_file=Path(item.password_file))
        for name, item in sorted(said.vault_ids.items())
    ]
    return SecretStores(stores_of(said), ids, key)


def stores_of(said: settings.Secrets) -> list[Store]:
    """The stores by name. Raises `OctofleetError` naming the setting that is missing."""
    return [_store(name, store) for name, store in sorted(said.stores.items())]


def _store(name: str, said: settings.Store) -> Store:
    where = f"secrets.stores.{name}"
    if said.type not in NEEDED:
        raise OctofleetError(f"{where}.type is {said.type!r}", hint="it is env, directory or vault", code="settings")
    for key in NEEDED[said.type]:
        if not getattr(said, key):
            raise OctofleetError(f"{where} has the type {said.type} and lacks {key}", hint=f"set {where}.{key}", code="settings")
    tenants = tuple(said.tenants)
    if said.type == "env":
        return EnvStore(name=name, prefix=said.prefix, tenants=tenants)
    if said.type == "directory":
        return DirectoryStore(name=name, path=Path(said.path), tenants=tenants)
    return VaultStore(
        name=name,
        url=said.url,
        mount=said.mount,
        tenants=tenants,
        token_file=Path(said.token_file) if said.token_file else None,
        token_env=said.token_env,
        kv_version=said.kv_version,
        namespace=said.namespace,
        ca_file=Path(said.ca_file) if said.ca_file else None,
    )
