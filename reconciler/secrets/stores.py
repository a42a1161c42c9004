"""Which secret a tenant may read, its value, and the token that stands for the value in plans and records.

In: settings, a `SecretRef`, a tenant. Out: a `SecretValue` (for an apply) or a token (for everything else). Values are neither kept nor
written; what is remembered of an Ansible Vault text is its token alone, under a digest of the text.
"""

import hashlib
import hmac
from collections.abc import Iterable

from reconciler.errors import Permanent, Refused
from reconciler.secrets import ansible_vault
from reconciler.secrets.directory import from_directory, from_environment
from reconciler.secrets.hashicorp import from_vault
from reconciler.secrets.settings import DirectoryStore, EnvStore, Store, VaultId, granted
from reconciler.types.values import SecretRef, SecretValue

_REMEMBERED = 100_000


class SecretStores:
    """`key`: the installation's key, at least 32 bytes; tokens are made under a key derived from it."""

    def __init__(self, stores: Iterable[Store], vault_ids: Iterable[VaultId], key: bytes) -> None:
        """Raises Permanent for a key that is too short or two stores of one name."""
        if len(key) < 32:
            raise Permanent("the installation's key is shorter than 32 bytes", hint="restore it from the backup", code="installation-key")
        self._stores: dict[str, Store] = {}
        for store in stores:
            if store.name in self._stores or not store.name:
                message = f"two secret stores are called {store.name!r}" if store.name else "a secret store has no name"
                raise Permanent(message, hint="give each its own name", code="secret-settings")
            self._stores[store.name] = store
        self._vault_ids = tuple(vault_ids)
        self._key = hmac.digest(key, b"octofleet secret token 1", "sha256")
        self._tokens: dict[tuple[str, bytes], str] = {}

    def __repr__(self) -> str:
        return f"SecretStores({', '.join(self.names())})"

    def names(self) -> list[str]:
        """The stores that are configured."""
        return sorted(self._stores)

    def token(self, ref: SecretRef, tenant: str) -> str:
        """HMAC-SHA-256 of the value, 64 hexadecimal digits: equal values have equal tokens, from whatever store, ciphertext or version.

        Raises what `value` raises.
        """
        if ref.store:
            return self._token(self._stored(ref, tenant))
        remembered = (tenant, hashlib.sha256(ref.key.encode()).digest())
        if remembered not in self._tokens:
            if len(self._tokens) >= _REMEMBERED:
                self._tokens.clear()
            self._tokens[remembered] = self._token(self._decrypted(ref.key, tenant))
        return self._tokens[remembered]

    def value(self, ref: SecretRef, tenant: str) -> SecretValue:
        """The plaintext, wrapped. Raises Refused (not granted), Permanent (missing, wrong password), RetryLater (unreachable)."""
        return SecretValue(self._stored(ref, tenant) if ref.store else self._decrypted(ref.key, tenant))

    def passwords(self, tenant: str) -> dict[str, SecretValue]:
        """The passwords of the vault ids that a tenant may use, by name. Raises Permanent for a file that cannot be read."""
        usable = [item for item in self._vault_ids if granted(item.tenants, tenant)]
        return {item.name: SecretValue(password_of(item).decode("utf-8", "surrogateescape")) for item in usable}

    def _token(self, value: str) -> str:
        return hmac.digest(self._key, value.encode("utf-8", "surrogateescape"), "sha256").hex()

    def _stored(self, ref: SecretRef, tenant: str) -> str:
        store = self._stores.get(ref.store)
        if store is None:
            hint = f"add secrets.stores.{ref.store} to the server's settings, or correct the name"
            raise Permanent(f"there is no secret store called {ref.store!r}", hint=hint, code="secret-store-unknown")
        if not granted(store.tenants, tenant):
            hint = f"an administrator adds it to secrets.stores.{ref.store}.tenants in the server's settings"
            raise Refused(f"{_who(tenant)} may not read the secret store {ref.store}", hint=hint, code="secret-not-granted")
        if isinstance(store, EnvStore):
            return from_environment(store, ref.key)
        if isinstance(store, DirectoryStore):
            return from_directory(store, ref.key)
        return from_vault(store, ref.key)

    def _decrypted(self, text: str, tenant: str) -> str:
        """Tries the vault id that the text names first, then every other that is granted."""
        usable = [item for item in self._vault_ids if granted(item.tenants, tenant)]
        if not usable:
            hint = "an administrator adds it to secrets.vault_ids.NAME.tenants in the server's settings"
            raise Refused(f"{_who(tenant)} may not use any Ansible vault id", hint=hint, code="secret-not-granted")
        try:
            envelope = ansible_vault.parse(text)
            for item in sorted(usable, key=lambda item: item.name != envelope.label):
                try:
                    return ansible_vault.decrypt(envelope, password_of(item)).decode()
                except ansible_vault.WrongPassword:
                    continue
        except ansible_vault.Malformed as error:
            hint = "encrypt it anew with `ansible-vault encrypt_string`"
            raise Permanent(f"an Ansible Vault value cannot be read: {error}", hint=hint, code="vault-malformed") from None
        except UnicodeDecodeError:
            raise Permanent("an Ansible Vault value is not UTF-8", hint="encrypt text", code="secret-encoding") from None
        names = ", ".join(item.name for item in usable)
        named = f" (it names the vault id {envelope.label})" if envelope.label else ""
        hint = "check the password files of the vault ids, or encrypt it anew"
        raise Permanent(f"no password of {names} opens an Ansible Vault value{named}", hint=hint, code="vault-password")


def _who(tenant: str) -> str:
    return f"the tenant {tenant}" if tenant else "what belongs to no tenant"


def password_of(item: VaultId, setting: str = "") -> bytes:
    """As ansible-vault reads a password file: without white space at either end. `setting`: what says where the file is. Raises Permanent."""
    hint = f"check {setting or f'secrets.vault_ids.{item.name}.password_file'}"
    try:
        password = item.password_file.read_bytes().strip()
    except OSError as error:
        message = f"the password file of the vault id {item.name} cannot be read ({type(error).__name__})"
        raise Permanent(message, hint=hint, code="secret-settings") from error
    if not password:
        raise Permanent(f"the password file of the vault id {item.name} is empty", hint=hint, code="secret-settings")
    return password
